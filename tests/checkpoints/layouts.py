"""Small checkpoints made exactly as each project writes them: nested keys, prefixes, heads, queues, optimisers."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from torch import Tensor

State = dict[str, Tensor]


def under(prefix: str, state: State) -> State:
    """Every name with a prefix."""
    return {prefix + name: value for name, value in state.items()}


def other(state: State) -> State:
    """A second encoder of the same shape, as a momentum encoder or a student is."""
    return {name: value + 1 if value.is_floating_point() else value for name, value in state.items()}


def optimiser(state: State) -> dict[str, Any]:
    """SGD's state, by number."""
    buffers = {n: {"momentum_buffer": torch.zeros(3)} for n in range(len(state))}
    return {"state": buffers, "param_groups": [{"lr": 0.03, "params": list(range(len(state)))}]}


HEAD = {"fc.0.weight": torch.ones(8, 8), "fc.0.bias": torch.ones(8), "fc.2.weight": torch.ones(4, 8)}


def moco(state: State) -> Any:
    """MoCo v1 and v2, and PCL."""
    both = {**state, **HEAD}
    tensors = under("module.encoder_q.", both) | under("module.encoder_k.", other(both))
    queue = {"module.queue": torch.ones(4, 16), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    return {"epoch": 200, "arch": "resnet50", "state_dict": tensors | queue, "optimizer": optimiser(state)}


def mocov3(state: State) -> Any:
    """MoCo v3, of residual networks and transformers."""
    tensors = under("module.base_encoder.", {**state, **HEAD, "head.weight": torch.ones(2, 2)})
    tensors |= under("module.momentum_encoder.", other(state)) | {"module.predictor.0.weight": torch.ones(2, 2)}
    return {"epoch": 100, "arch": "resnet50", "state_dict": tensors, "optimizer": optimiser(state), "scaler": {}}


def simsiam(state: State) -> Any:
    """SimSiam."""
    tensors = under("module.encoder.", {**state, **HEAD}) | {"module.predictor.0.weight": torch.ones(2, 2)}
    return {"epoch": 100, "arch": "resnet50", "state_dict": tensors, "optimizer": optimiser(state)}


def swav(state: State) -> Any:
    """SwAV, DeepCluster-v2 and SeLa-v2."""
    heads = {"projection_head.0.weight": torch.ones(2, 2), "prototypes.weight": torch.ones(3, 2)}
    return under("module.", {**state, **heads})


def plain(state: State) -> Any:
    """Barlow Twins, VICReg, DINO and torchvision, without or with a classifier."""
    return state | {"fc.weight": torch.ones(10, 4), "fc.bias": torch.ones(10)}


def vissl_native(state: State) -> Any:
    """VISSL's model_final_checkpoint_*.torch."""
    model = {"trunk": under("_feature_blocks.", state), "heads": {"0.clf.0.weight": torch.ones(2, 2)}}
    return {
        "phase_idx": 199,
        "iteration": 1,
        "loss": {"queue": torch.ones(4)},
        "train_phase_idx": np.float64(199),
        "classy_state_dict": {
            "train": True,
            "base_model": {"model": model, "meters": None},
            "optimizer": {"optim": optimiser(state)},
        },
    }


def vissl_converted(state: State) -> Any:
    """VISSL's converted_*.torch and AlexNets."""
    return {"model_state_dict": under("_feature_blocks.", state)}


def vissl_based(state: State) -> Any:
    """The same with the base model's name in front."""
    return {"model_state_dict": under("base_model._feature_blocks.", state)}


def mmselfsup(state: State) -> Any:
    """MMSelfSup."""
    heads = {"neck.fc0.weight": torch.ones(2, 2), "head.fc_cls.weight": torch.ones(4, 2)}
    return {"meta": {"epoch": 200, "version": "1.0"}, "state_dict": under("backbone.", state) | heads}


def lightly(state: State) -> Any:
    """lightly's Lightning files."""
    tensors = under("backbone.", state) | under("key_backbone.", other(state))
    tensors |= {
        "projection_head.layers.0.weight": torch.ones(2, 2),
        "online_classifier.linear.weight": torch.ones(2, 2),
    }
    return {
        "epoch": 99,
        "global_step": 500400,
        "pytorch-lightning_version": "2.0.4",
        "state_dict": tensors,
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.6)}},
        "optimizer_states": [optimiser(state)],
        "hyper_parameters": {"batch_size": 256},
    }


def solo(state: State) -> Any:
    """solo-learn's Lightning files."""
    tensors = under("backbone.", state) | under("momentum_backbone.", other(state))
    tensors |= {"classifier.weight": torch.ones(10, 4), "projector.0.weight": torch.ones(2, 2)}
    return {"epoch": 999, "state_dict": tensors, "hyper_parameters": argparse.Namespace(method="byol")}


def solo_old(state: State) -> Any:
    """solo-learn's before its encoders were called backbones."""
    return {"state_dict": under("encoder.", state) | {"classifier.weight": torch.ones(10, 4)}}


def lemniscate(state: State) -> Any:
    """NPID by its authors."""
    tensors = under("module.", {**state, "fc.weight": torch.ones(128, 4), "fc.bias": torch.ones(128)})
    return {"epoch": 200, "arch": "resnet50", "state_dict": tensors, "best_prec1": np.float32(0.5)}


def pycontrast(state: State) -> Any:
    """PyContrast's InsDis, PIRL and InfoMin."""
    tensors = under("module.encoder.", state) | {"module.head.0.weight": torch.ones(2, 2)}
    return {"opt": argparse.Namespace(epochs=200), "model": tensors, "optimizer": optimiser(state), "epoch": 200}


def cmc(state: State) -> Any:
    """PyContrast's CMC: of two encoders the first."""
    return {"model": under("module.encoder1.", state) | under("module.encoder2.", other(state))}


def dino(state: State) -> Any:
    """DINO's full checkpoints."""
    heads = {"module.head.mlp.0.weight": torch.ones(2, 2)}
    return {
        "student": under("module.backbone.", other(state)) | heads,
        "teacher": under("backbone.", state) | {"head.mlp.0.weight": torch.ones(2, 2)},
        "optimizer": optimiser(state),
        "epoch": 100,
        "args": argparse.Namespace(arch="resnet50"),
        "dino_loss": {"center": torch.zeros(1, 8)},
    }


def mae(state: State) -> Any:
    """MAE's."""
    decoder = {"mask_token": torch.ones(1, 1, 4), "decoder_blocks.0.norm1.weight": torch.ones(4)}
    return {"model": state | decoder}


def unknown_prefix(state: State) -> Any:
    """Nobody's: a prefix that no rule names."""
    return {"weights": under("net.body.", state) | {"net.top.weight": torch.ones(2, 2)}}


def sequential(state: State) -> Any:
    """The children of a residual network in one nn.Sequential, a habit of many tutorials."""
    numbers = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    return {numbers[name.partition(".")[0]] + name[name.index(".") :]: value for name, value in state.items()}


RESIDUAL = (
    *(
        moco,
        mocov3,
        simsiam,
        swav,
        plain,
        vissl_native,
        vissl_converted,
        vissl_based,
        mmselfsup,
        lightly,
        solo,
        solo_old,
    ),
    *(lemniscate, pycontrast, cmc, dino, unknown_prefix, sequential),
)


def rotnet(state: State) -> Any:
    """RotNet's model_net_epoch*: blocks of AlexNet or of NIN, with their classifiers."""
    more = {"8.1.weight": torch.ones(2, 2), "9.0.weight": torch.ones(4, 2)}
    return {"epoch": 50, "network": under("_feature_blocks.", state | more)}


def deepcluster(state: State) -> Any:
    """DeepCluster's AlexNet: a data-parallel list of layers after a fixed Sobel filter."""
    tensors = under("features.module.", state)
    tensors |= {"sobel.0.weight": torch.ones(1, 3, 1, 1), "sobel.1.weight": torch.ones(2, 1, 3, 3)}
    tensors |= {"classifier.1.weight": torch.ones(2, 2), "top_layer.weight": torch.ones(3, 2)}
    return {"epoch": 500, "arch": "alexnet", "state_dict": tensors, "optimizer": optimiser(state)}
