"""The learning rate of each step, and when a run has learned enough."""

import math


class Schedule:
    """Learning rate and early stopping; all it remembers is in `state`.

    Args:
        recipe: `Recipe`.

    Attributes:
        state: plain data for the checkpoint: `factor` of the rate, `best` loss,
            `best_step`, checks without a better one since the rate was lowered
            (`waiting`) and since the best (`stale`).
    """

    def __init__(self, recipe):
        self._recipe = recipe
        self.state = {"factor": 1.0, "best": None, "best_step": None, "waiting": 0, "stale": 0}

    def rate(self, step):
        """Return the learning rate of a step (0, 1, ...)."""
        recipe = self._recipe
        rate = recipe.learning_rate * self.state["factor"] / (1 + recipe.decay * step)
        if recipe.schedule == "plateau":
            return rate
        if step < recipe.n_warmup:
            return rate * (step + 1) / recipe.n_warmup
        done = (step - recipe.n_warmup) / max(1, recipe.n_steps - recipe.n_warmup)
        return rate * (1 + math.cos(math.pi * min(1.0, done))) / 2

    def check(self, loss, step):
        """Take in a validation loss; return whether it is the best so far."""
        state, recipe = self.state, self._recipe
        if state["best"] is None or loss < state["best"]:
            state.update(best=loss, best_step=step, waiting=0, stale=0)
            return True
        state["waiting"] += 1
        state["stale"] += 1
        if recipe.schedule == "plateau" and state["waiting"] >= recipe.plateau_patience:
            state["factor"] *= recipe.plateau_factor
            state["waiting"] = 0
        return False

    @property
    def over(self):
        """Whether the run may end early."""
        patience = self._recipe.stop_patience
        return bool(patience) and self.state["stale"] >= patience
