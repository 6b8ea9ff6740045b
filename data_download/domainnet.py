"""DomainNet: 345 classes in six styles, the cleaned version, with its lists of training and test images."""

from .source import File, Source

HOST = "https://csr.bu.edu/ftp/visda/2019/multi-source/"
# the folder of the images on the host, bytes as the page rounds them, number of images;
# the md5 sums of the images, of the training list, of the test list
DOMAINS = {
    "clipart": ("groundtruth/", 1_300_000_000, 48_129,
        "cd0d8f2d77a4e181449b78ed62bccf1e", "b4349693a7f9c05c53955725c47ed6cb", "f5ddbcfd657a3acf9d0f7da10db22565"),
    "infograph": ("", 4_000_000_000, 51_605,
        "720380b86f9e6ab4805bb38b6bd135f8", "379b50054f4ac2018dca4f89421b92d9", "779626b50869edffe8ea6941c3755c71"),
    "painting": ("groundtruth/", 3_700_000_000, 72_266,
        "1ae32cdb4f98fe7ab5eb0a351768abfd", "7db0e7ca73ad9982f6e1f7f3ef372c0a", "232b35dc53f26d414686ae579e38d9b5"),
    "quickdraw": ("", 439_000_000, 172_500,
        "bdc1b6f09f277da1a263389efe0c7a66", "b732ced3939ac8efdd8c0a889dca56cc", "c1a828fdfe216fb109f1c0083a252c6f"),
    "real": ("", 5_600_000_000, 172_947,
        "dcc47055e8935767784b7162e7c7cca6", "8ebf02c2075fadd564705f0dc7cd6291", "6098816791c3ebed543c71ffa11b9054"),
    "sketch": ("", 2_500_000_000, 69_128,
        "658d8009644040ff7ce30bb2e820850f", "1233bd18aa9a8a200bf4cecf1c34ef3e", "d8a222e4672cfd585298aa14d02ea441"),
}  # fmt: skip


def _list(name: str, md5: str) -> File:
    return File(name, f"{HOST}domainnet/txt/{name}", None, f"md5:{md5}")


SOURCE = Source(
    folder="domainnet",
    page="http://ai.bu.edu/M3SDA/",
    terms="non-commercial research (fair use of the images)",
    files=tuple(
        file
        for domain, (place, size, _, images, train, test) in DOMAINS.items()
        for file in (
            _list(f"{domain}_train.txt", train),
            _list(f"{domain}_test.txt", test),
            File(f"{domain}.zip", f"{HOST}{place}{domain}.zip", size, f"md5:{images}", unpack={domain: domain}),
        )
    ),
    most=8_000_000_000,  # the largest archive has 5.6 GB, of JPEGs
    counts={f"{domain}_*.txt": n for domain, (_, _, n, *_) in DOMAINS.items()},
    also=tuple(f"{domain}{part}" for domain in DOMAINS for part in ("/*", "_train.txt", "_test.txt")),
    note="the page links to http, loaders use https; several public ones (DeepDG's, Avalanche's, Shift Happens') agree "
    "on the sums",
)
