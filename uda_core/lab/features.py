"""`uda features`: class folders through a backbone, into a file that the task `features` is made of."""

import argparse
import io
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from uda_core.data.image_folders import Images, Preprocessing, class_names, from_folders
from uda_core.errors import UserError, choose
from uda_core.files import write_whole
from uda_core.lab import main
from uda_core.models import make_features
from uda_core.run import RunConfig
from uda_core.samples import chunks, read

BACKBONES = ("resnet18", "resnet50", "resnet101", "efficientnet_lite0")


def add(commands) -> None:
    """The command `features`."""
    about = "turn class folders of images into frozen features, to train on in seconds"
    example = (
        "features photos --network resnet50 --weights ResNet50_Weights.IMAGENET1K_V2 --out photos.npz\n"
        "  uda train cgdm features --source drawings.npz --target photos.npz"
    )
    p = main.add_command(commands, "features", features, about, example)
    p.description += (
        "\nEach image is resized to 256x256; its centre of 224x224 goes through the backbone, up to the average pool.\n"
        "Writes `features` [N, D] float16, `labels` [N], `classes` [C] and `paths` [N]."
    )
    p.add_argument("folder", type=Path, metavar="DIR", help="a folder per class, with images")
    p.add_argument("--network", default="resnet50", metavar="NAME", help=f"{', '.join(BACKBONES)} (default: resnet50)")
    about = "none (a random start), a file, a name of torchvision's, or imagenet for efficientnet_lite0"
    p.add_argument("--weights", required=True, metavar="W", help=about)
    about = "take every image in DIR, whatever its folder, as a target"
    p.add_argument("--unlabelled", action="store_true", help=about)
    p.add_argument("--device", default="cpu", metavar="D", help="cpu (default) or cuda")
    p.add_argument("--out", type=Path, required=True, metavar="FILE.npz", help="file to write")


def features(args: argparse.Namespace) -> int:
    """Write the file; the exit status.

    Raises:
        UserError: for an unknown network, or a file that has another ending or is there already.
    """
    choose("network", args.network, BACKBONES)
    if args.out.suffix != ".npz":
        raise UserError(f"--out must end with .npz, got {args.out}")
    if args.out.exists():
        raise UserError(f"{args.out} exists already; give another --out, or delete it")
    device = RunConfig(device=args.device).device
    classes = () if args.unlabelled else class_names(args.folder)
    listing = from_folders(args.folder, classes or ["."])
    preprocessing = Preprocessing()
    network, width = make_features(args.network, (3, preprocessing.crop, preprocessing.crop), 0, args.weights)
    network, x, parts = network.to(device).eval(), Images(listing.paths, preprocessing), []
    with torch.no_grad(), tqdm(total=len(x), unit="image") as bar:
        for part in read(x, chunks(x)):
            parts.append(network(part.to(device)).half().cpu())
            bar.update(len(part))
    f = torch.cat(parts).numpy()
    paths = np.array([path.relative_to(args.folder).as_posix() for path in listing.paths])
    labelled = {"labels": listing.y.numpy(), "classes": np.array(classes)} if classes else {}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, features=f, paths=paths, **labelled)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(args.out, buffer.getbuffer())
    named = f", {len(classes)} classes" if classes else ", without labels"
    print(f"{len(f)} images, {width} features each{named}, written to {args.out}")
    return 0
