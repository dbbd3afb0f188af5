"""Data parallelism: the processes (ranks) that share each training step, one for each GPU.

Every rank loads and embeds its part of the batch. The embeddings of all are gathered, and every
rank computes the same loss from them, so that no negative is missing; gradients flow through a
rank's own embeddings only, and their sum over the ranks is the gradient of that loss. A process
alone is the trivial case: all that is exchanged here is then returned as it is, and
``torch.distributed`` is not used at all.

Ranks are started by :mod:`gcdflow.distributed.launcher` or by torchrun.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gcdflow.distributed.device import resolve_device
from gcdflow.distributed.interruption import SIGNALS, Ended
from gcdflow.distributed.launcher import EXIT_PEER_LOST, launched_ranks
from gcdflow.errors import InputError, machine_error

_TIME_TO_MEET = timedelta(minutes=5)  # all start at once, and import the same from the same disk


class PeerLost(Ended):
    """Another rank is gone, and the training with it."""

    status = EXIT_PEER_LOST


@dataclass(frozen=True)
class Ranks:
    """This process among those that share each training step.

    Attributes
    ----------
    device : torch.device
        Where this rank computes.
    rank : int
        Number of this process, from 0; the first alone writes files.
    size : int
        Number of processes.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    @property
    def part(self) -> slice:
        """Which rows of a batch are this rank's: every ``size``-th, so labelled and unlabelled."""
        return slice(self.rank, None, self.size)

    def share(self, number: int) -> int:
        """This rank's share of threads or worker processes; of some at least one."""
        return max(number // self.size, min(number, 1))

    def gather(self, z: Tensor, n_blocks: int = 1) -> Tensor:
        """Rows of all ranks in the order of the whole batch; see :attr:`part`.

        Parameters
        ----------
        z : Tensor of shape (n_blocks · b, d)
            The same shape on every rank; for each block (view) the rows of this rank.

        Returns
        -------
        Tensor of shape (n_blocks · size · b, d)
            The same on every rank. Only a loss that all ranks compute alike may follow: the
            gradient reaches this rank's own rows, and is not exchanged.
        """
        if self.size == 1:
            return z
        every = _Gather.apply(z, self).unflatten(1, (n_blocks, -1))  # (size, n_blocks, b, d)
        return every.permute(1, 2, 0, 3).flatten(0, 2)

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the ranks, on all of them; so are its gradients."""
        return values if self.size == 1 else _Sum.apply(values)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the gradients by their sums over the ranks.

        One exchange of all, after the backward pass: the trained part of a network is small here
        (the last block and the head). DistributedDataParallel would send parts of it while others
        are still computed, but would also rename the state, take means, and need to be told of
        each step that is left out.
        """
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        with _peers():
            dist.all_reduce(flat)
        parts = flat.split([g.numel() for g in gradients])
        for gradient, total in zip(gradients, parts, strict=True):
            gradient.copy_(total.view_as(gradient))

    def from_first(self, values: Tensor) -> Tensor:
        """The first rank's values: sums on a GPU may differ in the last bits elsewhere."""
        if self.size == 1:
            return values
        values = values.contiguous()
        with _peers():
            dist.broadcast(values, src=0)
        return values

    def largest(self, number: int) -> int:
        """The largest of the ranks' numbers; no rank continues before all have come here."""
        if self.size == 1:
            return number
        value = torch.tensor(number)  # on the CPU, so that no GPU has to be waited for
        with _peers():
            dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return int(value)

    def wait(self) -> None:
        """Wait until all ranks are here."""
        self.largest(0)


class _Gather(torch.autograd.Function):
    """(b, d) of each rank to (size, b, d); the gradient is that of this rank's rows."""

    @staticmethod
    def forward(ctx, z: Tensor, ranks: Ranks) -> Tensor:
        ctx.rank = ranks.rank
        every = z.new_empty(ranks.size * len(z), *z.shape[1:])
        with _peers():
            dist.all_gather_into_tensor(every, z.contiguous())
        return every.unflatten(0, (ranks.size, len(z)))

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient[ctx.rank], None


class _Sum(torch.autograd.Function):
    """Sum over the ranks; every rank's output depends on this input, so gradients add up too."""

    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:
        return _total(values)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _total(gradient)


def _total(values: Tensor) -> Tensor:
    total = values.clone(memory_format=torch.contiguous_format)
    with _peers():
        dist.all_reduce(total)
    return total


@contextlib.contextmanager
def _peers() -> Iterator[None]:
    """Where the failure of another rank shows."""
    try:
        yield
    except RuntimeError as error:
        if machine_error(error) is not None:  # of this rank, whose memory ran out
            raise
        reason = str(error).splitlines()[0]
        raise PeerLost(f"the connection to another rank is lost ({reason})") from error


@contextlib.contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """This process among its ranks: alone, unless a launcher started it as one of several.

    Whatever ends one rank ends them all, and only the first that ends says why: the others exit
    without a word.

    Parameters
    ----------
    device : str
        As :func:`~gcdflow.distributed.device.resolve_device` takes it; rank r of several gets the
        r-th GPU.
    """
    size = launched_ranks()
    if size == 1:
        yield Ranks(resolve_device(device))
        return
    store, rank, size = _met(size)
    if rank > 0:
        logging.disable(logging.WARNING)  # the first rank says it
    try:
        # The launcher holds them back till here, where it can be seen to that one message appears.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        ranks = Ranks(resolve_device(device, size, _local_rank()), rank, size)
        with _peers():
            _connect(ranks, dist.PrefixStore("training", store))
        yield ranks
        dist.destroy_process_group()
    except BaseException as error:
        if _is_first_to_end(store):
            raise
        sys.exit(getattr(error, "status", 1))


def _met(size: int) -> tuple[dist.Store, int, int]:
    """The store at which the ranks meet, this rank, and their number."""
    try:
        return next(dist.rendezvous("env://", timeout=_TIME_TO_MEET))
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT say that this is one of "
            f"{size} processes of a launcher, but they cannot be met ({error}); where there is no "
            "launcher, unset LOCAL_RANK"
        ) from None


def _local_rank() -> int:
    return int(os.environ["LOCAL_RANK"])


def _connect(ranks: Ranks, store: dist.Store) -> None:
    backend = "gloo"
    if ranks.device.type == "cuda":
        torch.cuda.set_device(ranks.device)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=store, rank=ranks.rank, world_size=ranks.size)


def _is_first_to_end(store: dist.Store) -> bool:
    try:
        return store.add("ended", 1) == 1
    except RuntimeError:  # the launcher, who keeps the store, is gone
        return True
