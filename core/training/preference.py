"""Learning to prefer one answer to another: DPO and ORPO, chosen and rejected sharing their prompt in the tree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import logsigmoid

from core.training.cutting import AnyPack, PairPack, cut
from core.training.dataset import pack_tensors
from core.training.loss import PackLoss
from core.training.rows import Pair, Rows


class PreferenceLoss(PackLoss):
    """The objective of the tasks `dpo` and `orpo`: each pair counts once, however long its answers are.

    Args:
        model: as of `PackLoss`.
        beta: of the recipe.
        odds: ORPO, which needs no reference, instead of DPO.
    """

    def __init__(self, model: Any, beta: float, odds: bool) -> None:
        super().__init__(model)
        self._beta = beta
        self._odds = odds

    def tensors(self, pack: AnyPack, device: torch.device | None = None) -> dict[str, Any]:
        """Pairs for `summed`.

        Returns:
            `parts`, a batch of `dataset.pack_tensors` for each pack of the pairs' rows with `rows_of` and `targets_of`
            (int64, shape (learned tokens,)) beside it; `lengths` (float32, shape (2, pairs)), the answers' tokens;
            `reference` (float32, shape (2, pairs)); and the numbers of `pack_tensors`.
        """
        assert isinstance(pack, PairPack)
        pairs = pack.pairs
        parts = []
        for part, places in zip(pack.packs, pack.places, strict=True):
            rows_of = np.array(places, dtype=np.int64)[part.row_of]
            parts.append(
                {
                    **pack_tensors(part, device),
                    "rows_of": torch.from_numpy(rows_of).to(device),
                    "targets_of": torch.from_numpy(part.target_of).to(device),
                }
            )
        lengths = [[pair.chosen.learned for pair in pairs], [pair.rejected.learned for pair in pairs]]
        reference = [pair.reference or (0.0, 0.0) for pair in pairs]
        return {
            "parts": parts,
            "lengths": torch.tensor(lengths, dtype=torch.float32, device=device),
            "reference": torch.tensor(reference, dtype=torch.float32, device=device).T,
            "rows": pack.rows,
            "computed": pack.computed,
            "tokens": pack.row_tokens,
            "trained": sum(pair.learned for pair in pairs),
            "weight": pack.rows,
        }

    def answers(self, batch: dict[str, Any]) -> torch.Tensor:
        """Log probability of each answer, float32, shape (2, pairs): chosen, rejected."""
        total = torch.zeros(2 * batch["rows"], dtype=torch.float32, device=batch["lengths"].device)
        for part in batch["parts"]:
            total = total.index_add(0, part["rows_of"], self.log_probs(part)[part["targets_of"]])
        return total.view(2, -1)

    def summed(self, batch: dict[str, Any]) -> torch.Tensor:
        """Sum of the pairs' losses; the caller divides by the pairs of the whole step."""
        return self._losses(self.answers(batch), batch)[0].sum()

    def _losses(self, answers: torch.Tensor, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and margin of each pair; the margin is above 0 where the chosen answer is preferred.

        DPO (arXiv 2305.18290, eq. 7): -log s(beta m), m the difference of log probabilities gained over the reference.
        ORPO (arXiv 2403.07691, eq. 6 and 7): the chosen answer's mean loss, and beta times -log s of the log odds
        ratio of mean log probabilities.
        """
        if not self._odds:
            chosen, rejected = answers - batch["reference"]
            margin = self._beta * (chosen - rejected)
            return -logsigmoid(margin), margin
        chosen, rejected = answers / batch["lengths"]
        margin = chosen - rejected - (_log_of_rest(chosen) - _log_of_rest(rejected))
        return -chosen - self._beta * logsigmoid(margin), margin

    def measure(self, batches: Iterable[dict[str, Any]]) -> dict[str, float]:
        """`loss`, `preference_accuracy` (share of pairs whose chosen answer is preferred) and mean `margin`."""
        loss = margins = preferred = pairs = 0.0
        for batch in batches:
            losses, margin = self._losses(self.answers(batch), batch)
            loss += losses.sum().item()
            margins += margin.sum().item()
            preferred += (margin > 0).sum().item()
            pairs += len(margin)
        return {"loss": loss / pairs, "preference_accuracy": preferred / pairs, "margin": margins / pairs}


def _log_of_rest(log_prob: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(x)) for x below 0, where either form is exact (Maechler, 2012); x = 0 is held off."""
    held = log_prob.clamp(max=-1e-7)
    return torch.where(held > -0.6931, torch.log(-torch.expm1(held)), torch.log1p(-held.exp()))


def with_reference(
    rows: Rows, objective: PreferenceLoss, budget: int, long_from: int | None, record: Path
) -> Rows:
    """Pairs that know how likely their answers are for the model now, before any training.

    Args:
        rows: pairs.
        objective: of the model.
        budget: tokens computed at once.
        long_from: see `tree.packs`.
        record: file of the run, written at its first start and read when it is resumed.
    """
    pairs = [row for row in rows.rows if isinstance(row, Pair)]
    if not record.exists():
        known = _references(pairs, objective, budget, long_from)
        partial = record.with_suffix(".part")
        with partial.open("wb") as file:
            np.save(file, known)
        partial.chmod(0o600)
        partial.rename(record)
    known = np.load(record, allow_pickle=False)
    knowing = [pair.knowing(*map(float, values)) for pair, values in zip(pairs, known, strict=True)]
    return Rows(tuple(knowing), rows.dropped, rows.cut)


def _references(
    pairs: Sequence[Pair], objective: PreferenceLoss, budget: int, long_from: int | None
) -> np.ndarray:
    """Log probability of each pair's answers, float32, shape (pairs, 2)."""
    numbers = {id(pair): number for number, pair in enumerate(pairs)}
    result = np.zeros((len(pairs), 2), dtype=np.float32)
    with torch.no_grad():
        for pack in cut(pairs, budget, long_from):
            assert isinstance(pack, PairPack)
            answers = objective.answers(objective.tensors(pack, objective.device)).cpu().numpy()
            result[[numbers[id(pair)] for pair in pack.pairs]] = answers.T
    return result
