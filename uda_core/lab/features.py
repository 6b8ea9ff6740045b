"""`uda features`: class folders through a backbone, into a file that the task `features` is made of."""

import argparse
import difflib
import io
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from uda_core.data.image_folders import Images, Listing, Preprocessing, class_names, from_folders
from uda_core.errors import UserError, choose
from uda_core.files import write_whole
from uda_core.lab import main
from uda_core.models.features import FEATURE_EXTRACTORS, Made, make_features
from uda_core.run import RunConfig
from uda_core.samples import chunks, read

DEFAULT = "efficientnet_lite0"  # of the small networks, the one whose weights come from the package index
NOT_OF_PHOTOS = ("small", "linear", "mcd_digits", "mcd_colour_digits")
OF_TIMM, PRETRAINED = "timm:", "pretrained"  # timm:NAME, with the weights that timm has for it


def add(commands) -> None:
    """The command `features`."""
    about = "turn class folders of images into frozen features, to train on in seconds"
    example = (
        "features photos --network resnet50 --weights ResNet50_Weights.IMAGENET1K_V2 --out photos.npz\n"
        "  uda train cgdm features --source drawings.npz --target photos.npz"
    )
    p = main.add_command(commands, "features", features, about, example)
    p.description += (
        "\nEach image is resized to 256x256; its centre of 224x224 goes through the backbone, up to the average pool;\n"
        "a timm:NAME gets the size, mean and deviation that timm has for it.\n"
        "Writes `features` [N, D] float16, `labels` [N], `classes` [C] and `paths` [N]."
    )
    p.add_argument("folder", type=Path, metavar="DIR", help="a folder per class, with images")
    add_network(p)
    about = "take every image in DIR, whatever its folder, as a target"
    p.add_argument("--unlabelled", action="store_true", help=about)
    p.add_argument("--out", type=Path, required=True, metavar="FILE.npz", help="file to write")


def add_network(parser: argparse.ArgumentParser) -> None:
    """The options --network, --weights, --device and --plugin, of what makes features."""
    names = ", ".join(_networks())
    about = f"{names}, or {OF_TIMM}NAME, such as timm:vit_small_patch14_dinov2.lvd142m (default: {DEFAULT})"
    parser.add_argument("--network", default=DEFAULT, metavar="NAME", help=about)
    about = "imagenet (default of efficientnet_lite0), pretrained (default of timm:NAME), a name of torchvision's for "
    about += "a ResNet, a file, or none (a random start)"
    parser.add_argument("--weights", metavar="W", help=about)
    parser.add_argument("--device", default="cpu", metavar="D", help="cpu (default) or cuda")
    main.add_plugin(parser)


def features(args: argparse.Namespace) -> int:
    """Write the file; the exit status.

    Raises:
        UserError: for an unknown network, or a file that has another ending or is there already.
    """
    weights = weights_of(args.network, args.weights)
    if args.out.suffix != ".npz":
        raise UserError(f"--out must end with .npz, got {args.out}")
    if args.out.exists():
        raise UserError(f"{args.out} exists already; give another --out, or delete it")
    device = RunConfig(device=args.device).device
    classes = () if args.unlabelled else class_names(args.folder)
    listing = from_folders(args.folder, classes or ["."])
    made, preprocessing = backbone(args.network, weights)
    with tqdm(total=len(listing.paths), unit="image") as bar:
        n, width = write(args.out, args.folder, classes, listing, made[0].to(device), preprocessing, bar)
    named = f", {len(classes)} classes" if classes else ", without labels"
    print(f"{n} images, {width} features each{named}, written to {args.out}")
    return 0


def write(
    out: Path, folder: Path, classes: tuple[str, ...], listing: Listing, net: nn.Module, how: Preprocessing, bar: tqdm
) -> tuple[int, int]:
    """Write to `out` the features of a folder's images, which `how` brings to the size of `net`; their shape.

    Without labels if there are no `classes`. `bar` counts the images.
    """
    x, parts, device = Images(listing.paths, how), [], next(net.parameters()).device
    with torch.no_grad():
        for part in read(x, chunks(x)):
            parts.append(net(part.to(device)).half().cpu())
            bar.update(len(part))
    f = torch.cat(parts).numpy()
    paths = np.array([path.relative_to(folder).as_posix() for path in listing.paths])
    labelled = {"labels": listing.y.numpy(), "classes": np.array(classes)} if classes else {}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, features=f, paths=paths, **labelled)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, buffer.getbuffer())
    return f.shape


def weights_of(network: str, given: str | None) -> str:
    """The weights that are given, else the default of this network.

    Raises:
        UserError: for an unknown network, or one without a default.
    """
    if not network.startswith(OF_TIMM):
        choose("network", network, _networks())
    default = PRETRAINED if network.startswith(OF_TIMM) else {DEFAULT: "imagenet"}.get(network)
    if not (given or default):
        raise UserError(f"{network} needs --weights, such as ResNet50_Weights.IMAGENET1K_V2, a file, or none")
    return given or default


def backbone(network: str, weights: str) -> tuple[Made, Preprocessing]:
    """A network up to its pooled features, in evaluation mode, with their width, and how images get to its input.

    Raises:
        UserError: for an unknown network, weights that do not fit or cannot be had, or a package that is missing.
    """
    if network.startswith(OF_TIMM):
        return _of_timm(network.removeprefix(OF_TIMM), weights)
    how = Preprocessing()
    net, width = make_features(network, (3, how.crop, how.crop), 0, weights)
    return (net.eval(), width), how


def _of_timm(name: str, weights: str) -> tuple[Made, Preprocessing]:
    """One of timm's: the whole image, squashed to the square, of which the centre is taken that timm has for it."""
    try:
        import timm  # of the extra "pretrained"
    except ImportError as error:
        raise UserError('timm is not installed: python3 -m pip install -e ".[pretrained]"') from error
    from torchvision.transforms import Normalize

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), 1)
        guess = f" Did you mean {close[0]!r}?" if close else ""
        raise UserError(f"timm has no network {name!r}; timm.list_models() lists those that it has.{guess}")
    file = {} if weights in (PRETRAINED, "none") else {"pretrained_cfg_overlay": {"file": weights}}
    try:
        net = timm.create_model(name, pretrained=weights != "none", num_classes=0, **file)
    except Exception as error:  # a dozen kinds, of timm, of the hub's client, of files of other networks
        why = " ".join(str(error).split())[:200]
        raise UserError(f"{name}: no weights {weights!r} ({why}); give --weights a file, or none") from error
    of_net = timm.data.resolve_model_data_config(net)
    side = of_net["input_size"][-1]
    net = nn.Sequential(Normalize(of_net["mean"], of_net["std"]), net).eval()
    with torch.no_grad():
        width = net(torch.zeros(1, 3, side, side)).shape[1]
    return (net, width), Preprocessing(round(side / of_net["crop_pct"]), side)


def _networks() -> list[str]:
    """Those that photographs go through, your own among them."""
    return [name for name in FEATURE_EXTRACTORS if name not in NOT_OF_PHOTOS]
