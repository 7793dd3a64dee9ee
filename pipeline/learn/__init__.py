"""Learning from stores: clips in, trained networks, stored predictions and scores out.

``data`` turns clips into what a network reads, ``settings`` says how it is trained, ``train`` does
it, ``checkpoint`` keeps it, ``predict`` writes saliency beside the videos, ``evaluate`` scores it
against the ground truth and ``baselines`` gives what every table is compared with.
"""
