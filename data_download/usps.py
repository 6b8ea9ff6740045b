"""USPS: digits from envelopes, 16x16, in the two files of LIBSVM."""

from .source import File, Source

HOST = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/"

SOURCE = Source(
    folder="usps",
    page="https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps",
    terms="no licence stated: research and teaching",
    files=(
        File("usps.bz2", f"{HOST}usps.bz2", None, "md5:ec16c51db3855ca6c91edd34d0e9b197"),
        File("usps.t.bz2", f"{HOST}usps.t.bz2", None, "md5:8ea070ee2aca1ac39742fdd1ef5ed118"),
    ),
    most=20_000_000,  # 7,291 lines of 256 numbers, compressed
    counts={"usps.bz2": 7_291, "usps.t.bz2": 2_007},
    note="the sums are torchvision's",
)
