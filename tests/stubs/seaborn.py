"""Empty: importing it takes a third of a start, to draw what no test draws."""
