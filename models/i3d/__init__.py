"""I3D (Carreira & Zisserman 2017): the towers, their public weights, features of every window.

``network`` is the plain network, ``weights`` reads published weights, and ``preprocess`` prepares
frames and flow. ``windows`` computes the features of all windows of a video; ``window_plan`` finds
the activations that several windows share, and ``step_network`` computes each of them once.
"""
