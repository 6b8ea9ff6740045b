"""MNIST-M: MNIST's digits over patches of photographs (Ganin et al. 2016), in the authors' archive."""

from .source import File, Source

SPLITS = ("mnist_m_train", "mnist_m_test", "mnist_m_train_labels.txt", "mnist_m_test_labels.txt")

SOURCE = Source(
    folder="mnist_m",
    page="http://yaroslav.ganin.net/",
    terms="made of MNIST and BSDS500: research and teaching",
    files=(
        File(
            "mnist_m.tar.gz",
            "https://cornell.box.com/shared/static/jado7quprg6hzzdubvwzh9umr75damwi",
            None,
            "md5:859df31c91afe82e80e5012ba928f279",
            unpack={split: split for split in SPLITS},
            by_hand="https://drive.google.com/open?id=0B_tExHiYS-0veklUZHFYT19KYjg (the page's link)",
        ),
    ),
    counts={"mnist_m_train/*.png": 59_001, "mnist_m_test/*.png": 9_001},
    also=("mnist_m_train_labels.txt", "mnist_m_test_labels.txt"),
    note="the page links to Google Drive: fetched from the copy of PyTorch Adapt, with its sum for the same archive",
)
