"""This package trains networks on stores, writes their predictions to stores, and scores them.

``inputs`` turns clips into what a network reads, ``settings`` says how it is trained, ``train``
trains it, ``checkpoint`` saves it, ``predict`` writes saliency beside the videos, ``evaluate``
scores it against the ground truth and ``baselines`` makes what every table is compared with.
"""
