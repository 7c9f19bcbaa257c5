"""The one language of the project: operators, model families, graphs and chips as text."""
