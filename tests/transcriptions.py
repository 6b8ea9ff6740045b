"""Slow transcriptions of the published formulas, one number at a time, to compare `uda_core` with.

They share no code with `uda_core` and favour loops over speed. Sources: Saito et al. 2018 (MCD), Lee et al. 2019 (SWD),
Du et al. 2021 (CGDM), and what the code at lijin118/CGDM, commit 012d631, computes; Zhang et al. 2019 (CAG-UDA), and
what the code at RogerZhangzz/CAG_UDA, commit 422f99e, computes; Sun & Saenko 2016 (Deep CORAL), Ganin et al. 2016
(DANN); Cui et al. 2020, Saito et al. 2021, Sugiyama et al. 2007, You et al. 2019 and Musgrave et al. 2022 (validators).
`waves` are the inputs of the golden values, which those authors' code itself returned.
"""

import math

import torch

NOTHING = 255  # label of a pixel that has none


def waves(*shape, phase=0.0):
    """Numbers from -1 to 1 that need no random generator: sin(1.7 i^1.3 + phase), i = 0, 1, ..."""
    return (1.7 * torch.arange(math.prod(shape), dtype=torch.float64) ** 1.3 + phase).sin().reshape(shape)


def softmax(row):
    largest = max(z.item() for z in row)
    e = [(z - largest).exp() for z in row]
    return [term / sum(e) for term in e]


def classifier_discrepancy(z1, z2):
    total = 0
    for row1, row2 in zip(z1, z2, strict=True):
        for p1, p2 in zip(softmax(row1), softmax(row2), strict=True):
            total = total + abs(p1 - p2)
    return total / z1.numel()


def mcd_with_batches_apart(batches, g, c1, c2, learning_rate, k):
    """MCD's digits (mil-tokyo/MCD_DA, classification/solver.py): in A the source alone, in C the target alone."""
    g_opt, c1_opt, c2_opt = (torch.optim.Adam(n.parameters(), learning_rate, weight_decay=5e-4) for n in (g, c1, c2))
    fit = torch.nn.CrossEntropyLoss()

    def go(loss, *optimizers):
        for optimizer in (g_opt, c1_opt, c2_opt):
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()

    for batch in batches:
        f_s = g(batch.x_s)
        go(fit(c1(f_s), batch.y_s) + fit(c2(f_s), batch.y_s), g_opt, c1_opt, c2_opt)
        f_s = g(batch.x_s)
        loss = fit(c1(f_s), batch.y_s) + fit(c2(f_s), batch.y_s)
        f_t = g(batch.x_t)
        go(loss - (c1(f_t).softmax(1) - c2(f_t).softmax(1)).abs().mean(), c1_opt, c2_opt)
        for _ in range(k):
            f_t = g(batch.x_t)
            go((c1(f_t).softmax(1) - c2(f_t).softmax(1)).abs().mean(), g_opt)


def sliced_wasserstein_discrepancy(z1, z2, directions):
    """`directions` [C, M] need not be of length 1."""
    p1, p2 = [softmax(row) for row in z1], [softmax(row) for row in z2]
    total = 0
    for r in directions.T:
        length = math.sqrt(sum(float(x) ** 2 for x in r))
        project = lambda p, r=r, length=length: sum(x * y / length for x, y in zip(p, r, strict=True))  # noqa: E731
        line1, line2 = sorted(map(project, p1)), sorted(map(project, p2))
        total = total + sum((a - b) ** 2 for a, b in zip(line1, line2, strict=True))
    return total / (directions.shape[1] * len(z1))


def entropy(row):
    return -sum(p * (p + 1e-5).log() for p in softmax(row))


def information_maximisation(z):
    conditional = sum(entropy(row) for row in z) / len(z)
    columns = zip(*[softmax(row) for row in z], strict=True)
    means = [sum(column) / len(z) + 1e-5 for column in columns]
    return conditional + sum(m * m.log() for m in means)


def weighted_cross_entropy(z, labels, normalise):
    weights = [1 + (-entropy(row)).exp() for row in z]
    losses = [-softmax(row)[int(label)].log() for row, label in zip(z, labels, strict=True)]
    total = sum(w * loss for w, loss in zip(weights, losses, strict=True))
    return total / (sum(weights).item() if normalise else len(z))


def cosine(a, b):
    """Of two lists of numbers, with the product of the lengths floored at 1e-8."""
    inner = sum(x * y for x, y in zip(a, b, strict=True))
    squares = sum(x * x for x in a) * sum(y * y for y in b)
    return inner / (squares.sqrt() if squares > 1e-16 else 1e-8)


def gradient_discrepancy_by_rows(losses_s, losses_t, heads, left_out):
    """As the authors' code: one gradient for each tensor and domain. One loss of each domain for each head."""
    values = []
    for loss_s, loss_t, tensors in zip(losses_s, losses_t, heads, strict=True):
        terms = [1.0] * left_out
        for tensor in tensors:
            (g_s,) = torch.autograd.grad(loss_s, tensor, create_graph=True)
            (g_t,) = torch.autograd.grad(loss_t, tensor, create_graph=True)
            rows = zip(g_s, g_t, strict=True) if tensor.dim() == 2 else [(g_s, g_t)]
            cosines = [cosine(a, b) for a, b in rows]
            terms.append(1 - sum(cosines) / len(cosines))
        values.append(sum(terms) / len(terms))
    return sum(values) / len(values)


def gradient_discrepancy_of_mean(losses_s, losses_t, heads):
    """As the paper: the heads' gradients averaged into one long vector for each domain."""
    vectors = []
    for losses in (losses_s, losses_t):
        per_head = [
            [
                number
                for tensor in tensors
                for number in torch.autograd.grad(loss, tensor, create_graph=True)[0].flatten()
            ]
            for loss, tensors in zip(losses, heads, strict=True)
        ]
        vectors.append([sum(numbers) / len(numbers) for numbers in zip(*per_head, strict=True)])
    return 1 - cosine(*vectors)


def cluster_labels(features, logits, mended):
    """Labels by nearest centroid; `mended=False` gives an empty class the zero vector, as the authors' code does."""
    samples = [[*map(float, f), 1.0] for f in features]
    samples = [[x / math.sqrt(sum(y * y for y in f)) for x in f] for f in samples]
    p = [[x.item() for x in softmax(row)] for row in logits]
    classes = range(logits.shape[1])

    def centroid(weights):
        axes = zip(*samples, strict=True)
        return [sum(w * x for w, x in zip(weights, axis, strict=True)) / (1e-8 + sum(weights)) for axis in axes]

    def distance(a, b):
        product = math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
        return 1 - sum(x * y for x, y in zip(a, b, strict=True)) / product if product else math.nan

    def nearest(centroids):
        labels = []
        for f in samples:
            distances = [distance(f, c) for c in centroids]
            invalid = [k for k in classes if math.isnan(distances[k])]  # numpy's argmin returns the first NaN
            labels.append(invalid[0] if invalid else min(classes, key=lambda k: distances[k]))
        return labels

    soft = [centroid([row[k] for row in p]) for k in classes]
    first = nearest(soft)
    hard = [centroid([float(label == k) for label in first]) for k in classes]
    if mended:
        hard = [hard[k] if k in first else soft[k] for k in classes]
    return nearest(hard)


# -- segmentation ------------------------------------------------------------------------------------------------------
# f [B, D, h, w], z [B, C, h, w], y [B, h, w]; `anchors` is a list with one list of D numbers per class, or None.


def pixels(y):
    return [(n, i, j) for n in range(y.shape[0]) for i in range(y.shape[1]) for j in range(y.shape[2])]


def vector(f, n, i, j):
    return [f[n, k, i, j] for k in range(f.shape[1])]


def fewest_pixels(h, w):
    return max(3.0, h * w * 10 / 28672)


def class_mean(f, y, n, c):
    """The mean feature of image n's pixels of class c, a list, and their number; None and 0 if there is none."""
    members = [vector(f, *p) for p in pixels(y) if p[0] == n and y[p] == c]
    return [sum(axis) / len(members) for axis in zip(*members, strict=True)] or None, len(members)


def category_anchors(batches, classes, weighting):
    """One list of D numbers, or None, per class; and how many images or pixels each is the mean of."""
    anchors, weights = [], []
    for c in range(classes):
        total, weight = None, 0
        for f, y in batches:
            for n in range(len(f)):
                v, count = class_mean(f, y, n, c)
                if count >= fewest_pixels(*y.shape[1:]):
                    w = 1 if weighting == "image" else count
                    total = [t + w * x for t, x in zip(total or [0] * len(v), v, strict=True)]
                    weight += w
        anchors.append([t / weight for t in total] if weight else None)
        weights.append(weight)
    return anchors, weights


def length(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5


def anchor_distances(f, anchors):
    """By pixel: a list of C distances."""
    b, _, h, w = f.shape
    places = [(n, i, j) for n in range(b) for i in range(h) for j in range(w)]
    return {p: [math.inf if a is None else length(vector(f, *p), a) for a in anchors] for p in places}


def gaps(anchors):
    return [length(a, b) for k, a in enumerate(anchors) for b in anchors[k + 1 :] if a is not None and b is not None]


def shut_out(anchors, margin):
    nearest = [min([length(a, b) for b in anchors if a and b and b is not a], default=math.inf) for a in anchors]
    return [a is not None and gap < margin for a, gap in zip(anchors, nearest, strict=True)]


def anchor_labels(d, shape, margin):
    """From what `anchor_distances` gives."""
    y_hat = torch.full(shape, NOTHING)
    for p, distances in d.items():
        first, second = sorted(distances)[:2]
        if second - first >= margin:
            y_hat[p] = distances.index(first)
    return y_hat


def confidence_labels(z, threshold):
    y_hat = torch.full((z.shape[0], *z.shape[2:]), NOTHING)
    for p in pixels(y_hat):
        for c, probability in enumerate(softmax(vector(z, *p))):
            if probability > threshold:
                y_hat[p] = c
    return y_hat


def resized(z, height, width):
    """Bilinear, the corner pixels of both on each other."""
    b, c, h, w = z.shape
    rows = []
    for i in range(height):
        for j in range(width):
            v, u = i * (h - 1) / max(height - 1, 1), j * (w - 1) / max(width - 1, 1)
            top, left = min(int(v), h - 1), min(int(u), w - 1)
            bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
            v, u = v - top, u - left
            upper = (1 - u) * z[:, :, top, left] + u * z[:, :, top, right]
            lower = (1 - u) * z[:, :, bottom, left] + u * z[:, :, bottom, right]
            rows.append((1 - v) * upper + v * lower)
    return torch.stack(rows, 2).reshape(b, c, height, width)


def pixel_cross_entropy(z, y):
    z = resized(z, *y.shape[1:])
    terms = [-softmax(vector(z, *p))[int(y[p])].log() for p in pixels(y) if y[p] != NOTHING]
    return sum(terms) / len(terms)


def huber(x):
    return x * x / 2 if abs(x) < 1 else abs(x) - 0.5


def class_mean_distance(f, y, anchors, area_scaled):
    terms = []
    for n in range(len(f)):
        for c, a in enumerate(anchors):
            v, count = class_mean(f, y, n, c)
            if a is not None and count >= fewest_pixels(*y.shape[1:]):
                term = sum(huber(x - t) for x, t in zip(v, a, strict=True)) / len(a)
                terms.append(10 * 2 * count / (y.shape[1] * y.shape[2]) * term if area_scaled else term)
    return sum(terms) / len(terms)


def pixel_distance(f, y, anchors):
    labelled = [p for p in pixels(y) if y[p] != NOTHING and anchors[y[p]] is not None]
    return sum(length(vector(f, *p), anchors[y[p]]) for p in labelled) / len(labelled)


def adversarial_loss(verdict, domain):
    aim = {"source": 0, "target": 1}[domain]
    numbers = list(verdict.flatten())
    return sum((d - aim) ** 2 for d in numbers) / len(numbers)


def coral(f_s, f_t):
    """Sun & Saenko 2016, eq. 1-3, as printed: C = (D^T D - (1^T D)^T (1^T D) / n) / (n - 1), entry by entry."""
    width, total = f_s.shape[1], 0
    for i in range(width):
        for j in range(width):
            entries = []
            for f in (f_s, f_t):
                n = len(f)
                inner = sum(row[i] * row[j] for row in f)
                entries.append((inner - sum(row[i] for row in f) * sum(row[j] for row in f) / n) / (n - 1))
            total = total + (entries[0] - entries[1]) ** 2
    return total / (4 * width**2)


def domain_cross_entropy(d_s, d_t):
    """Ganin et al. 2016, eq. 9: the log loss of d = sigmoid(logit), with the target as class 1, averaged per domain."""
    lost = [-(1 - 1 / (1 + (-d).exp())).log() for d in d_s], [-(1 / (1 + (-d).exp())).log() for d in d_t]
    return sum(sum(part) / len(part) for part in lost) / 2


def cross_entropy(z, y):
    return sum(-softmax(row)[int(label)].log() for row, label in zip(z, y, strict=True)) / len(z)


def descend(loss, learning_rate, *networks):
    """One backward pass, then plain gradient descent."""
    loss.backward()
    with torch.no_grad():
        for parameter in (p for network in networks for p in network.parameters()):
            parameter -= learning_rate * parameter.grad


def coral_step(batch, g, heads, learning_rate, weight):
    """Sun & Saenko 2016, eq. 6, with two heads in place of one and features in place of the last layer."""
    f = g(torch.cat([batch.x_s, batch.x_t]))
    n = len(batch.x_s)
    loss = sum(cross_entropy(head(f)[:n], batch.y_s) for head in heads) + weight * coral(f[:n], f[n:])
    descend(loss, learning_rate, g, *heads)


class Reversal(torch.autograd.Function):
    """The gradient reversal layer (Ganin et al. 2016, eq. 16 and 17): R(f) = f, dR/df = -lambda."""

    @staticmethod
    def forward(ctx, f, strength):
        ctx.strength = strength
        return f.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.strength * gradient, None


def dann_step(batch, g, heads, discriminator, learning_rate, weight, p):
    """Ganin et al. 2016, section 5.2.2: lambda grows with the fraction p of the training; one pass for all networks."""
    f = g(torch.cat([batch.x_s, batch.x_t]))
    n = len(batch.x_s)
    d = discriminator(Reversal.apply(f, weight * (2 / (1 + math.exp(-10 * p)) - 1)))[:, 0]
    loss = sum(cross_entropy(head(f)[:n], batch.y_s) for head in heads) + domain_cross_entropy(d[:n], d[n:])
    descend(loss, learning_rate, g, *heads, discriminator)


def batch_nuclear_norm(z):
    """Cui et al. 2020, eq. 8, beside its bound: the roots of the eigenvalues of P^T P, one by one."""
    p = torch.stack([torch.stack(softmax(row)) for row in z])
    gram, total = p.T @ p, 0.0
    for _ in range(z.shape[1]):
        v = waves(z.shape[1]) + 2
        for _ in range(5000):
            v = gram @ v
            v = v / v.norm()
        eigenvalue = (v @ gram @ v).item()
        total += max(eigenvalue, 0) ** 0.5
        gram = gram - eigenvalue * torch.outer(v, v)
    return total / math.sqrt(len(z) * z.shape[1])


def soft_neighbourhood_density(z, temperature=0.05):
    """Saito et al. 2021, eq. 1-3, with an exact logarithm."""
    p = [softmax(row) for row in z]
    total = 0
    for i, a in enumerate(p):
        e = []
        for j, b in enumerate(p):
            if i != j:
                dot = sum(x * y for x, y in zip(a, b, strict=True))
                lengths = [math.sqrt(sum(x * x for x in c)) for c in (a, b)]
                e.append(math.exp(dot / lengths[0] / lengths[1] / temperature))
        total += sum(-x / sum(e) * math.log(x / sum(e)) for x in e)
    return total / len(p)


def importance_weighted_risk(loss, p_t, n_s, n_t):
    """Sugiyama et al. 2007, with the weights of You et al. 2019."""
    w = [n_s / n_t * p.item() / (1 - p.item()) for p in p_t]
    return sum(w_i * l_i.item() for w_i, l_i in zip(w, loss, strict=True)) / len(w)


def deep_embedded_validation(loss, p_t, n_s, n_t):
    """You et al. 2019, algorithm 1."""
    w = [n_s / n_t * p.item() / (1 - p.item()) for p in p_t]
    weighted = [w_i * l_i.item() for w_i, l_i in zip(w, loss, strict=True)]
    m_w, m_l = sum(w) / len(w), sum(weighted) / len(w)
    cov = sum((a - m_l) * (b - m_w) for a, b in zip(weighted, w, strict=True)) / (len(w) - 1)
    eta = -cov / (sum((b - m_w) ** 2 for b in w) / (len(w) - 1))
    return m_l + eta * m_w - eta


def weighted_spearman(value, score):
    """KevinMusgrave/powerful-benchmarker, validator_tests/utils/weighted_spearman.py, with pow = 2."""
    n = len(value)
    dense = [[1 + len({y for y in of if y < x}) for x in of] for of in (list(value), list(score))]
    w = [max(a / max(dense[0]), b / max(dense[1])) ** 2 for a, b in zip(*dense, strict=True)]
    ranks = []
    for of in (list(value), list(score)):
        below = [sum(w[j] for j in range(n) if of[j] < x) for x in of]
        tied = [[w[j] for j in range(n) if of[j] == x] for x in of]
        ranks.append([b + (len(t) + 1) / 2 * sum(t) / len(t) for b, t in zip(below, tied, strict=True)])
    means = [sum(w_i * r_i for w_i, r_i in zip(w, r, strict=True)) / sum(w) for r in ranks]

    def cov(a, b):
        return sum(w[i] * (ranks[a][i] - means[a]) * (ranks[b][i] - means[b]) for i in range(n))

    return cov(0, 1) / math.sqrt(cov(0, 0) * cov(1, 1))


def black_box_shift(confusion, read_as):
    """BBSE (Lipton et al. 2018) by Cramer's rule, of nested lists: w_j = det(C, column j replaced by mu) / det C."""
    classes = range(len(read_as))
    held_out, seen = sum(map(sum, confusion)), sum(read_as)
    joint = [[confusion[true][read] / held_out for true in classes] for read in classes]

    def determinant(matrix):
        if not matrix:
            return 1.0
        minors = [[row[:j] + row[j + 1 :] for row in matrix[1:]] for j in range(len(matrix))]
        return sum((-1) ** j * matrix[0][j] * determinant(minor) for j, minor in enumerate(minors))

    weights = []
    for j in classes:
        replaced = [[*row[:j], read_as[i] / seen, *row[j + 1 :]] for i, row in enumerate(joint)]
        weights.append(max(0.0, determinant(replaced) / determinant(joint)))
    return weights
