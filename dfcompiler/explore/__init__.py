"""The outer loop: which chips and systems of a declared space serve best, with a proof where the space allows one."""
