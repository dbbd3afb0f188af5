"""Data parallelism: the processes (ranks) that share each training step, one per GPU.

Every rank loads and embeds its part of the batch. All ranks gather all embeddings and compute the
same loss from them, so no negative is missing. On each rank, gradients flow through its own
embeddings only; their sum over the ranks is the gradient of the loss. With a single process, every
exchange returns its input unchanged, and ``torch.distributed`` is not used.

:mod:`gcdflow.distributed.launcher` or torchrun starts the ranks.
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

_TIME_TO_MEET = timedelta(minutes=5)  # ranks start together and import the same packages


class PeerLost(Ended):
    """Another rank is gone, so this one ends too."""

    status = EXIT_PEER_LOST


@dataclass(frozen=True)
class Ranks:
    """This process and its place among the processes that share each training step.

    Attributes
    ----------
    device : torch.device
        Device of this rank.
    rank : int
        Number of this process, from 0; only rank 0 writes files.
    size : int
        Number of processes.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    @property
    def part(self) -> slice:
        """This rank's rows of a batch: every ``size``-th, so each rank has labelled samples."""
        return slice(self.rank, None, self.size)

    def share(self, number: int) -> int:
        """This rank's share of threads or worker processes; at least one if ``number`` is not 0."""
        return max(number // self.size, min(number, 1))

    def gather(self, z: Tensor, n_blocks: int = 1) -> Tensor:
        """Rows of all ranks in the order of the whole batch; see :attr:`part`.

        Parameters
        ----------
        z : Tensor of shape (n_blocks · b, d)
            This rank's rows of each block (view); the shape is the same on every rank.

        Returns
        -------
        Tensor of shape (n_blocks · size · b, d)
            The same on every rank. The gradient reaches only this rank's own rows and is not
            exchanged, so all ranks must compute the same loss from this tensor.
        """
        if self.size == 1:
            return z
        every = _Gather.apply(z, self).unflatten(1, (n_blocks, -1))  # (size, n_blocks, b, d)
        return every.permute(1, 2, 0, 3).flatten(0, 2)

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the ranks, on every rank; gradients are summed as well."""
        return values if self.size == 1 else _Sum.apply(values)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the gradients by their sums over the ranks.

        All gradients are exchanged at once after the backward pass, because the trained part of
        the network is small (the last block and the head). DistributedDataParallel overlaps
        exchange and computation, but it also renames the state, takes means, and must be told of
        each skipped step.
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
        """The values of rank 0: sums on other GPUs may differ in the last bits."""
        if self.size == 1:
            return values
        values = values.contiguous()
        with _peers():
            dist.broadcast(values, src=0)
        return values

    def largest(self, number: int) -> int:
        """The largest of the ranks' numbers; every rank waits for all others."""
        if self.size == 1:
            return number
        value = torch.tensor(number)  # on the CPU, which needs no GPU synchronisation
        with _peers():
            dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return int(value)

    def wait(self) -> None:
        """Wait until all ranks have called this."""
        self.largest(0)


class _Gather(torch.autograd.Function):
    """Stack the (b, d) rows of each rank to (size, b, d); keep the gradient of this rank's rows."""

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
    """Sum over the ranks; every rank's output depends on this input, so gradients are summed."""

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
    """Turn an error of communication into :class:`PeerLost`."""
    try:
        yield
    except RuntimeError as error:
        if machine_error(error) is not None:  # this rank ran out of memory
            raise
        reason = str(error).splitlines()[0]
        raise PeerLost(f"the connection to another rank is lost ({reason})") from error


@contextlib.contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Connect this process to its ranks; without a launcher, it works alone.

    When one rank ends, all end. Only the first one reports the reason.

    Parameters
    ----------
    device : str
        Name for :func:`~gcdflow.distributed.device.resolve_device`; rank r of several gets the
        r-th GPU.
    """
    size = launched_ranks()
    if size == 1:
        yield Ranks(resolve_device(device))
        return
    store, rank, size = _met(size)
    if rank > 0:
        logging.disable(logging.WARNING)  # rank 0 logs for all
    try:
        # The launcher blocks signals until here, because only now can one rank report for all.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        local_rank = int(os.environ["LOCAL_RANK"])
        ranks = Ranks(resolve_device(device, size, local_rank), rank, size)
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
            f"{size} processes of a launcher, but the others cannot be reached ({error}); if you "
            "use no launcher, unset LOCAL_RANK"
        ) from None


def _connect(ranks: Ranks, store: dist.Store) -> None:
    backend = "gloo"
    if ranks.device.type == "cuda":
        torch.cuda.set_device(ranks.device)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=store, rank=ranks.rank, world_size=ranks.size)


def _is_first_to_end(store: dist.Store) -> bool:
    try:
        return store.add("ended", 1) == 1
    except RuntimeError:  # the launcher, which keeps the store, is gone
        return True
