"""The toy study (the paper's Figures 1, 5(b), 13 and 14): known losses in place of a network.

One search (`search`) is the real one's controller, method and selection; thousands at once (`runs`) are one tensor
program around the same methods. Shapes: R runs, K children a step, L layers, C choices, S architectures of the space.
"""
