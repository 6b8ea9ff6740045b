"""MNIST-M: MNIST's digits over patches of photographs (Ganin et al. 2016), in the authors' archive."""

from .source import File, Source

URL = "https://cornell.box.com/shared/static/jado7quprg6hzzdubvwzh9umr75damwi"
LINK = "https://drive.google.com/open?id=0B_tExHiYS-0veklUZHFYT19KYjg (the page's link)"
MD5 = "md5:859df31c91afe82e80e5012ba928f279"
LISTS = ("mnist_m_train_labels.txt", "mnist_m_test_labels.txt")
PARTS = {part: part for part in ("mnist_m_train", "mnist_m_test", *LISTS)}

SOURCE = Source(
    folder="mnist_m",
    page="http://yaroslav.ganin.net/",
    terms="made of MNIST and BSDS500: research and teaching",
    files=(File("mnist_m.tar.gz", URL, None, MD5, unpack=PARTS, by_hand=LINK),),
    most=500_000_000,  # 68,002 images of 32x32 pixels
    counts={"mnist_m_train/*.png": 59_001, "mnist_m_test/*.png": 9_001},
    also=LISTS,
    note="the page links to Google Drive: the file is PyTorch Adapt's copy of that archive, the sum is PyTorch Adapt's",
)
