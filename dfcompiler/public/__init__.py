"""What `import dfcompiler as dfc` gives: a function for each thing that the command line does, under its name.

A model and a chip are given by name, by path, or as `model()` and `chip()` made them. What is wrong with an input
raises `Diag`, a legal question whose answer is no `Infeasible`, both with the message that the command line prints.
"""
