"""I3D (Carreira & Zisserman 2017): the towers, their public weights, features of every window.

``network`` is the plain network, ``weights`` reads what others published, ``preprocess`` prepares
frames and flow, and ``windows`` gives the features of all windows of a video, computing each
activation that several windows share once (``sharing`` says which, ``steps`` computes them).
"""
