"""Learners: a batch of trajectories in, a new adapter version out. One file per method.

Nothing is re-exported, so that `olal.learners.base` can be used where torch must not be loaded.
"""
