"""Several seeds of one architecture, trained from scratch as one batched program.

May import data, encoder, network, optim and stand_alone.

Shapes: S seeds, each with its own weights and its own minibatch of B rows; d numerical and c categorical columns, V ids
in all of the latter together. Nothing is summed over seeds but the losses, whose sum gives each seed the gradient it
would have alone; optimizers work element by element. Each seed's numbers are therefore those of a single training, up
to the order in which floats are added up.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from tabnas.data.table import Block, Rows
from tabnas.encoder import Encoder
from tabnas.network import Network
from tabnas.optim import ChildOptimizer
from tabnas.stand_alone import StandAlone


class StackedNetwork(nn.Module):
    """Networks of one shape side by side, their linear layers as batched matrix products."""

    def __init__(self, networks: Sequence[Network]) -> None:
        super().__init__()
        layers = list(zip(*(network.linears for network in networks), strict=True))
        self.weights = nn.ParameterList([torch.stack([one.weight.detach() for one in layer]) for layer in layers])
        """Of each linear layer (S, n_out, n_in)."""
        self.biases = nn.ParameterList([torch.stack([one.bias.detach() for one in layer]) for layer in layers])
        """Of each linear layer (S, n_out)."""

    def forward(self, x: Tensor) -> Tensor:
        """x (S, B, n_inputs) → logits (S, B, n_outputs)."""
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))
            if i < last:
                x = F.relu(F.layer_norm(x, x.shape[-1:]))
        return x

    def copy_to(self, network: Network, number: int) -> None:
        """Give `network` the weights of the seed with this number."""
        for linear, weight, bias in zip(network.linears, self.weights, self.biases, strict=True):
            linear.weight.copy_(weight[number])
            linear.bias.copy_(bias[number])


class StackedEncoder(nn.Module):
    """Encoders of one shape side by side; none of them sparse."""

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        super().__init__()
        first = encoders[0]
        self.embedding: nn.Parameter | None = None
        if first.embedding is not None:
            tables = [cast(nn.Embedding, encoder.embedding).weight.detach() for encoder in encoders]
            self.embedding = nn.Parameter(torch.stack(tables))  # (S, V, dim)
            seeds = torch.arange(len(encoders))[:, None, None] * len(tables[0])
            self.register_buffer("offsets", first.offsets + seeds, persistent=False)  # (S, 1, c), among S · V rows
            self.offsets: Tensor
        self.numerical = nn.ParameterList()
        """Parameters of the S embeddings of numerical columns (S, …), by `names`."""
        self.names: list[str] = []
        if first.numerical is not None:
            stacked, _ = stack_module_state([cast(nn.Module, encoder.numerical) for encoder in encoders])
            self.names, self.numerical = list(stacked), nn.ParameterList(map(torch.Tensor.detach, stacked.values()))
        self._first = (first,)  # a tuple, so that its parameters are not taken for this module's

    def forward(self, numerical: Tensor, categorical: Tensor) -> Tensor:
        """numerical (S, B, d) float, categorical (S, B, c) integer ids from 0 within each column → (S, B, n_inputs)."""
        if self.names:
            embed = cast(nn.Module, self._first[0].numerical)

            def one(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
                return functional_call(embed, parameters, (x,))  # type: ignore[no-any-return]

            numerical = vmap(one)(dict(zip(self.names, self.numerical, strict=True)), numerical).flatten(2)
        if self.embedding is None:
            return numerical
        rows = self.embedding.flatten(0, 1).index_select(0, (categorical + self.offsets).flatten())
        embedded = rows.view(*categorical.shape[:2], -1)
        return torch.cat([numerical, embedded], dim=2) if numerical.shape[2] else embedded

    def lookup(self, categorical: Tensor) -> None:
        """There are no sparse embeddings here."""

    def copy_to(self, encoder: Encoder, number: int) -> None:
        """Give `encoder` the weights of the seed with this number."""
        if self.embedding is not None:
            cast(nn.Embedding, encoder.embedding).weight.copy_(self.embedding[number])
        if self.names:
            own = dict(cast(nn.Module, encoder.numerical).named_parameters())
            for name, values in zip(self.names, self.numerical, strict=True):
                own[name].copy_(values[number])


class Seeds(StandAlone):
    """Trainings of one architecture, stacked. A block's rows are (S, n · B, …), each seed's in its own order."""

    def __init__(self, trainings: Sequence[StandAlone]) -> None:
        first = trainings[0]
        encoder = StackedEncoder([one.encoder for one in trainings])
        network = StackedNetwork([cast(Network, one.network) for one in trainings])
        settings = (first.task, first.optimizer_settings, first.batch_size, first.total_steps)
        super().__init__(cast(Encoder, encoder), network, *settings)
        self.n_seeds = len(trainings)
        self._alone = (first,)  # a tuple, so that its parameters are not taken for this module's

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer_settings.child(list(self.parameters()))  # the same updates as torch's, with less around

    def minibatches(self, block: Block) -> list[Rows]:
        """Each seed's minibatch of every step: (S, B, …), without copying."""
        n_steps = block.train.target.shape[1] // self.batch_size
        pieces = ([None] * n_steps if column is None else column.split(self.batch_size, 1) for column in block.train)
        return [Rows(*piece) for piece in zip(*pieces, strict=True)]

    def update(self, rows: Rows, optimizer: torch.optim.Optimizer) -> Tensor:
        """One step of every seed; the mean of their losses."""
        # As (S, n_outputs, B), on which torch's log-softmax is ten times as fast.
        outputs = self(rows.numerical, rows.categorical).transpose(1, 2).contiguous()
        # Every seed's weights are made to add up to 1, so that the mean over all rows is the mean of the seeds' losses.
        weight = None if rows.weight is None else (rows.weight / rows.weight.sum(1, keepdim=True))
        loss = self.task.loss(outputs, rows.target, weight)
        child_optimizer = cast(ChildOptimizer, optimizer)
        child = child_optimizer.gather([None] * len(child_optimizer.parameters))
        (loss * self.n_seeds).backward()
        child_optimizer.update(child)
        return loss.detach()

    @torch.no_grad()
    def alone(self, number: int) -> StandAlone:
        """The network of the seed with this number as it is now; the same object for every seed."""
        (one,) = self._alone
        one.to(self.device)
        cast(StackedEncoder, self.encoder).copy_to(one.encoder, number)
        cast(StackedNetwork, self.network).copy_to(cast(Network, one.network), number)
        return one
