"""How good rankings are for their money: judged candidates, measures, costs, and the plot.

Knows a server only as its clients do.
"""
