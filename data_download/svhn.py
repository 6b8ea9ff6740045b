"""SVHN: house numbers from street photographs, cropped to one digit, 32x32."""

from .source import File, Source

HOST = "http://ufldl.stanford.edu/housenumbers/"

SOURCE = Source(
    folder="svhn",
    page=HOST,
    terms="non-commercial",
    files=(
        File("train_32x32.mat", f"{HOST}train_32x32.mat", 182_040_794, "md5:e26dedcc434d2e4c54c9b2d4a06d8373"),
        File("test_32x32.mat", f"{HOST}test_32x32.mat", 64_275_384, "md5:eb5a983be6a315427106f1b164d9cef3"),
    ),
    most=200_000_000,
    counts={"train_32x32.mat": 73_257, "test_32x32.mat": 26_032},
    note="the sums are torchvision's",
)
