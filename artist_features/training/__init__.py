"""Tracks with artist names, or stored crops with teachers' vectors, to a trained model.

In: `TrainingOptions` (`options`), which name manifests and a `Recipe` (`recipes`). `data` divides
the tracks, `cache` decodes them once, `sampling` and `augment` draw batches, `learner` makes a step
with the terms of `losses`, `trainer` is the loop, `validation` measures. Out: a run folder (`run`).
"""
