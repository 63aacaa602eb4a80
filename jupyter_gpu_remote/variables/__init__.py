"""The notebook's variables on their way: which a cell needs, how they are pickled and kept, at both ends."""
