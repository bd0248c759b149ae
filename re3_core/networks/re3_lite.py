# SPDX-FileCopyrightText: 2026 re3_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""
Re3Lite: Re3's principle on maps, in a network small enough to ship, with a learned confidence.

From Re3 (Gordon, Farhadi, Fox 2018) are the search region around the last box, which is compared
with the target in the previous frame, the shared convolutions, the skip connections with PReLU,
the two factored peephole LSTM layers, and the regression of the box. Differences:

- the previous frame is not put through the convolutions again: its part of the input is cut out
  of the last search region's features around the predicted box (RoIAlign, He et al. 2017), as a
  template that the memory carries. One crop per time step is left, the search region;
- pixel-wise correlation (Alpha-Refine, Yan et al. 2021) of the search region with this template,
  which adapts to changes, and with that of the first frame, which does not drift;
- no fully connected layer: the LSTM layers are convolutional (7 x 7), and every cell of a 28 x 28
  map votes for the four edges of the box. A target that moves in the search region moves in all
  maps, so no position has to be learned separately;
- a confidence: the predicted IoU of the box that was found (ATOM, Danelljan et al. 2019), from
  the features at that box, their similarity to both templates, and the memory.
"""

from re3_core.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from re3_core.crops import CropSpec, region_of
from re3_core.lstm import FactoredConvLSTM
from re3_core.networks.base import Crops, Prediction, Tensors, TrackerNetwork
from re3_core.networks.compact import fused_copy, make_backbone, Neck
import torch
from torch import nn, Tensor
from torch.nn import functional

CONTEXT = 2.5                   # sides of the search region in sides of the box
SEARCH, TEMPLATE = 14, 8        # cells per side of the correlated maps, stride 8
VOTES = 28                      # cells per side of the map that votes for the edges, stride 4
ROI = 6                         # cells per side of the features at the predicted box
TEMPLATE_DROPOUT = .1           # share of time steps in training without one of the templates


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a convolution with PReLU that keeps the size, divided by `stride`."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2),
                         nn.PReLU(outputs))


def sample(maps: Tensor, boxes: Tensor, cells: int = ROI) -> Tensor:
    """
    Sample maps at their boxes by bilinear interpolation, as RoIAlign does with one sample a cell.

    :param maps: (N, C, S, S); zero outside.
    :param boxes: (N, 4) `xyxy` in units of the map's sides.
    :param cells: per side of the result.
    :return: float32 (N, C, cells, cells).
    """
    ticks = (torch.arange(cells, device=maps.device, dtype=torch.float32) + .5) / cells
    x = boxes[:, 0, None] + ticks * (boxes[:, 2] - boxes[:, 0])[:, None]
    y = boxes[:, 1, None] + ticks * (boxes[:, 3] - boxes[:, 1])[:, None]
    grid = torch.stack((x[:, None, :].expand(-1, cells, -1),
                        y[:, :, None].expand(-1, -1, cells)), -1)
    return functional.grid_sample(maps.float(), 2 * grid - 1, align_corners=False)


def square_of(boxes: Tensor) -> Tensor:
    """Return squares with the centers and areas of `xyxy` boxes (N, 4)."""
    center, size = xyxy_to_cxcywh(boxes).split(2, -1)
    side = (size[:, :1] * size[:, 1:]).clamp(min=0).sqrt()
    return cxcywh_to_xyxy(torch.cat((center, side, side), -1))


class EdgeVotes(nn.Module):
    """
    Predict a box from maps: every cell votes for each edge.

    Per edge an attention map (softmax over the cells) and an offset map; the edge is the sum of
    attention x (cell center + offset).
    """

    def __init__(self, width: int, fine_channels: int, context: float) -> None:
        super().__init__()
        self.join = conv(2 * width, width)
        self.up = nn.Conv2d(width, 4 * 32, 1)
        self.fine = conv(fine_channels, 16, 1)
        self.refine = conv(32 + 16, 32)
        self.votes = nn.Conv2d(32, 8, 1)
        assert self.votes.bias is not None
        with torch.no_grad():
            # At first the box is about the last one, in the middle of the search region.
            half = .5 / context
            self.votes.weight.mul_(.1)
            self.votes.bias.copy_(torch.tensor([0., 0, 0, 0, -half, -half, half, half]))
        ticks = (torch.arange(VOTES) + .5) / VOTES
        x, y = ticks.expand(VOTES, VOTES), ticks[:, None].expand(VOTES, VOTES)
        self.cells: Tensor
        self.register_buffer('cells', torch.stack((x, y, x, y)), persistent=False)

    def forward(self, fused: Tensor, hidden: Tensor, fine: Tensor) -> tuple[Tensor, Tensor]:
        """
        Return boxes (N, 4) in units of the search region, and the attention's maxima (N, 4).

        :param fused: (N, W, 14, 14), `hidden` (N, W, 7, 7), `fine` (N, C, 28, 28).
        """
        coarse = functional.interpolate(hidden, scale_factor=2., mode='bilinear',
                                        align_corners=False)
        x = functional.pixel_shuffle(self.up(self.join(torch.cat((fused, coarse), 1))), 2)
        votes = self.votes(self.refine(torch.cat((x, self.fine(fine)), 1))).float()
        attention = functional.softmax(votes[:, :4].flatten(2), 2)          # (N, 4, 784)
        edges = (self.cells + votes[:, 4:]).flatten(2)
        return (attention * edges).sum(2), attention.amax(2)


class Re3LiteNet(TrackerNetwork):
    """
    Re3 on maps, see the module's docstring.

    :param width: factor on the backbone's channels.
    :param embedding: channels of the correlated maps.
    :param hidden: channels of the fused maps and of each LSTM layer.
    :param recurrent: False: the twin without memory, convolutions in place of the LSTM layers, to
        compare with.
    :param backbone: 'dense' or 'efficientnet_lite0'.
    :param aspect: exponent of the box's aspect ratio in that of the search region (`region_of`):
        1 as in Re3, less for narrow targets that move to their sides.
    """

    name = 're3_lite'
    feature_modules = ('backbone.',)
    # Attention and offsets have ranges too different for one scale of 8 bits; the peepholes read
    # the cells, whose range has no limit.
    float_modules = ('head.votes.', 'peephole')
    has_memory = True
    scale_lr = .7       # steadier sizes, at the same accuracy on validation sequences

    def __init__(self, width: float = 1., embedding: int = 48, hidden: int = 64,
                 recurrent: bool = True, backbone: str = 'dense', aspect: float = 1.) -> None:
        super().__init__({'width': width, 'embedding': embedding, 'hidden': hidden,
                          'recurrent': recurrent, 'backbone': backbone, 'aspect': aspect})
        self.recurrent = recurrent
        self.previous_crop = CropSpec(0, CONTEXT * TEMPLATE / SEARCH, aspect)
        # 44.8 pixels per side of the box, if that is a square.
        self.current_crop = CropSpec(8 * SEARCH, CONTEXT, aspect)
        self.backbone = make_backbone(backbone, width)
        channels4, _, channels16 = self.backbone.channels
        self.neck = Neck(self.backbone.channels, embedding)
        self.logit_scale = nn.Parameter(torch.tensor(2.))       # as in CLIP, a logarithm
        self.skip4, self.skip16 = conv(channels4, 32, 3, 2), conv(channels16, 32, 1)
        self.fuse = nn.Sequential(conv(2 * TEMPLATE ** 2 + embedding + 64, 96), conv(96, hidden))
        self.memory_input = conv(hidden, hidden, 3, 2)
        if recurrent:
            self.lstm = FactoredConvLSTM(hidden, hidden)
        else:
            self.convolutions = nn.Sequential(
                conv(hidden, 2 * hidden), conv(2 * hidden, hidden))
        self.head = EdgeVotes(hidden, channels4, CONTEXT)
        self.confidence = nn.Sequential(
            nn.Linear(2 * ROI ** 2 + 3 * hidden + 4, 128), nn.ReLU(), nn.Linear(128, 1))
        # The target in a template: in cells of the map a square, as large as the box.
        half = .5 / self.previous_crop.context
        inner = torch.tensor([[.5 - half, .5 - half, .5 + half, .5 + half]])
        cells = torch.eye(TEMPLATE ** 2).view(1, -1, TEMPLATE, TEMPLATE)
        self.inner: Tensor      # samples it by a product: the place is always the same
        self.register_buffer('inner', sample(cells, inner)[0].flatten(1), persistent=False)

    def features(self, crops: Crops) -> Tensors:
        """Return the maps of stride 4, 8, 16 of the current crop."""
        return self.backbone(crops.current)

    def inference_copy(self, dtype: torch.dtype = torch.float32) -> 'Re3LiteNet':
        """Return a copy with the backbone's normalizations fused, see the base class."""
        return fused_copy(self, dtype)

    def reference(self, features: Tensors) -> Tensors:
        """Return the template: the middle (N, C, 8, 8) of the first crop's embedded map."""
        first = (SEARCH - TEMPLATE) // 2
        middle = slice(first, first + TEMPLATE)
        return (self.neck(features)[:, :, middle, middle],)

    def encode(self, features: Tensors, reference: Tensors) -> Tensors:
        """
        Return what a step needs of the crop; every tensor has N first.

        Embedded map, skips of stride 4 and 16, map of stride 4, and the first template.
        """
        coarse = functional.interpolate(self.skip16(features[2]), scale_factor=2., mode='nearest')
        return (self.neck(features), self.skip4(features[0]), coarse, features[0], *reference)

    def zero_memory(self, embedding: Tensors) -> Tensors:
        """Return a previous template of zeros, and (h1, c1, h2, c2), if it is recurrent."""
        cells = embedding[1].new_zeros((len(embedding[0]), 1, SEARCH // 2, SEARCH // 2))
        return (torch.zeros_like(embedding[4], dtype=torch.float32),
                *(self.lstm.zero_state(cells) if self.recurrent else ()))

    def recur(self, embedding: Tensors, memory: Tensors) -> tuple[Prediction, Tensors]:
        """Advance by one time step; return (Prediction, new memory)."""
        search, skip4, skip16, fine, first = embedding
        previous, memory = memory[0].to(search.dtype), memory[1:]
        if self.training:       # neither template may be relied on: the memory is needed
            keep = torch.rand(2, len(search), 1, 1, 1, device=search.device) > TEMPLATE_DROPOUT
            first, previous = first * keep[0], previous * keep[1]
        # The embedded map has unit vectors: 7 makes its elements about 1.
        fused = self.fuse(torch.cat(
            (self._correlation(search, first, previous), search * 7, skip4, skip16), 1))
        inputs = self.memory_input(fused)
        if self.recurrent:
            hidden, memory = self.lstm(inputs, memory)
        else:
            hidden = self.convolutions(inputs).float()
        boxes, peaks = self.head(fused, hidden.to(inputs.dtype), fine)
        # Neither the confidence nor the next template moves the box that was found.
        where = boxes.detach()
        square = square_of(where)
        found = sample(search, square).flatten(2)
        logits = self.confidence(torch.cat((
            (found * (first.flatten(2) @ self.inner)).sum(1),
            (found * (previous.flatten(2) @ self.inner)).sum(1),
            sample(fused, where).mean((2, 3)), hidden.float().mean((2, 3)),
            hidden.float().amax((2, 3)), peaks.detach().clamp(min=1e-6).log()), 1))
        template = sample(search, region_of(square, self.previous_crop.context), TEMPLATE)
        return (Prediction(boxes, logits[:, 0].float()),
                (functional.normalize(template, dim=1), *memory))

    def _correlation(self, search: Tensor, *templates: Tensor) -> Tensor:
        """Return the correlation (N, 64 x templates, 14, 14) with every cell of the templates."""
        parts = torch.cat([template.flatten(2) for template in templates], 2)   # (N, C, 64 x 2)
        # Scaled before the product, whose result is larger.
        scaled = self.logit_scale.exp() * parts.transpose(1, 2)
        return torch.bmm(scaled, search.flatten(2)).view(-1, parts.shape[2], SEARCH, SEARCH)
