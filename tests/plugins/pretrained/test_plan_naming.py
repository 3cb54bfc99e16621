"""What sizes are for, and what they are called, read from where they occur."""

from __future__ import annotations

from torch import nn

from oneshot_plugins.elastic.extent import Extent, Size
from oneshot_plugins.pretrained.naming import (
    Use,
    glob_of,
    groups_of,
    names_of,
    replace_sizes,
    uses_of,
)


class Attention(nn.Module):
    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__()
        self.query = nn.Linear(hidden, inner)
        self.key = nn.Linear(hidden, inner)
        self.out = nn.Linear(inner, hidden)


class Block(nn.Module):
    def __init__(self, hidden: int = 16, inner: int = 24, ffn: int = 32) -> None:
        super().__init__()
        self.attention = Attention(hidden, inner)
        self.norm = nn.LayerNorm(hidden)
        self.up = nn.Linear(hidden, ffn)
        self.down = nn.Linear(ffn, hidden)


class Encoder(nn.Module):
    def __init__(self, blocks: int = 2) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 16)
        self.layer = nn.ModuleList(Block() for _ in range(blocks))
        self.head = nn.Linear(16, 5)


def linear(path: str, rows: Extent | None, columns: Extent | None) -> dict[str, dict[int, Extent]]:
    weight = {d: e for d, e in enumerate((rows, columns)) if e is not None}
    bias = {} if rows is None else {f"{path}.bias": {0: rows}}
    return {f"{path}.weight": weight, **bias}


def encoder_extents(blocks: int = 2) -> dict[str, dict[int, Extent]]:
    hidden = Extent.of(Size("s0", 16))
    extents = {"words.weight": {0: Extent.of(Size("rows", 50)), 1: hidden}}
    for n in range(blocks):
        heads, ffn = Extent.of(Size(f"h{n}", 3), 8), Extent.of(Size(f"f{n}", 32))
        at = f"layer.{n}"
        extents |= linear(f"{at}.attention.query", heads, hidden)
        extents |= linear(f"{at}.attention.key", heads, hidden)
        extents |= linear(f"{at}.attention.out", hidden, heads)
        extents |= {f"{at}.norm.weight": {0: hidden}, f"{at}.norm.bias": {0: hidden}}
        extents |= linear(f"{at}.up", ffn, hidden) | linear(f"{at}.down", hidden, ffn)
    return extents | linear("head", Extent.of(Size("out", 5)), hidden)


def roles(uses: list[Use]) -> dict[str, str]:
    return {use.size.name: use.role for use in uses}


def test_the_roles_of_a_transformer_are_read_from_its_layers() -> None:
    uses = uses_of(Encoder(), encoder_extents())
    assert roles(uses) == {
        "rows": "table",
        "s0": "hidden",
        "h0": "heads",
        "f0": "ffn",
        "h1": "heads",
        "f1": "ffn",
        "out": "unread",
    }


def test_sizes_are_named_by_the_module_that_holds_them_and_their_role() -> None:
    uses = uses_of(Encoder(), encoder_extents())
    names = names_of(uses)
    assert [names[use.size] for use in uses if use.role not in ("table", "unread")] == [
        "hidden",
        "layer.0.attention.heads",
        "layer.0.ffn",
        "layer.1.attention.heads",
        "layer.1.ffn",
    ]


def test_sizes_of_equal_role_share_a_label_unless_each_layer_is_to_have_its_own() -> None:
    uses = [
        u for u in uses_of(Encoder(), encoder_extents()) if u.role in ("hidden", "heads", "ffn")
    ]
    names = names_of(uses)
    shared = groups_of(uses, names, per_layer=False)
    assert [(group.label, len(group.uses)) for group in shared] == [
        ("hidden", 1),
        ("heads", 2),
        ("ffn", 2),
    ]
    own = groups_of(uses, names, per_layer=True)
    assert [group.label for group in own] == [names[use.size] for use in uses]


def test_groups_of_keys_are_told_from_the_queries_of_each() -> None:
    kv, queries, hidden = Size("a", 2), Size("b", 3), Extent.of(Size("c", 16))
    extents = linear("query", Extent.of(kv, queries, 8), hidden)
    extents |= linear("key", Extent.of(kv, 8), hidden)
    extents |= linear("out", hidden, Extent.of(kv, queries, 8))
    module = Attention(16, 48)
    module.key = nn.Linear(16, 16)
    found = roles(uses_of(module, extents))
    assert (found["a"], found["b"]) == ("kv", "queries")


def test_a_gated_network_is_one_feed_forward_network() -> None:
    hidden, ffn = Extent.of(Size("h", 16)), Extent.of(Size("f", 32))
    model = nn.ModuleDict(
        {"gate": nn.Linear(16, 32), "up": nn.Linear(16, 32), "down": nn.Linear(32, 16)}
    )
    extents = linear("gate", ffn, hidden) | linear("up", ffn, hidden)
    extents |= linear("down", hidden, ffn)
    assert roles(uses_of(model, extents))["f"] == "ffn"


def test_channels_are_those_that_convolutions_read() -> None:
    first, second, last = (Extent.of(Size(name, 8)) for name in "abc")
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3, groups=8)
    )
    model.append(nn.Linear(8 * 4, 5))
    extents = {
        "0.weight": {0: first},
        "0.bias": {0: first},
        "1.running_mean": {0: first},
        "2.weight": {0: second, 1: first},
        "3.weight": {0: second},
        "4.weight": {0: last, 1: Extent.of(second.sizes[0], 4)},
    }
    assert roles(uses_of(model, extents)) == {"a": "channels", "b": "channels", "c": "unread"}


def test_a_convolution_into_patches_writes_the_hidden_size() -> None:
    hidden = Extent.of(Size("h", 16))
    model = nn.Sequential(nn.Conv2d(3, 16, 4), nn.Linear(16, 16), nn.Linear(16, 16))
    extents = {"0.weight": {0: hidden}} | linear("1", hidden, hidden) | linear("2", hidden, hidden)
    assert roles(uses_of(model, extents)) == {"h": "hidden"}


def test_names_of_channels_tell_layers_of_one_block_apart() -> None:
    def use(path: str, layer: str) -> Use:
        return Use(Size("s", 64), "channels", (), path, layer)

    uses = [
        use("layer1.0", "layer1.0.conv1"),
        use("layer1.0", "layer1.0.conv2"),
        use("layer1.1", "layer1.1.conv1"),
        use("layer1.1", "layer1.1.conv2"),
        use("layer1", "layer1.0.conv3"),
    ]
    groups = groups_of(uses, names_of(uses), per_layer=False)
    assert [group.label for group in groups] == [
        "layer1.*.conv1.channels",
        "layer1.*.conv2.channels",
        "layer1.channels",
    ]


def test_what_is_kept_apart_has_labels_of_its_own() -> None:
    uses = [u for u in uses_of(Encoder(3), encoder_extents(3)) if u.role == "ffn"]
    apart = {uses[0].size: "first", uses[1].size: "others", uses[2].size: "others"}
    groups = groups_of(uses, names_of(uses), per_layer=False, apart=apart)
    assert [group.label for group in groups] == ["layer.0.ffn", "layer.*.ffn"]


def test_one_pattern_stands_for_several_names() -> None:
    assert glob_of(["a.0.ffn", "a.1.ffn"]) == "a.*.ffn"
    assert glob_of(["a.b.ffn"]) == "a.b.ffn"
    assert glob_of(["a.0.ffn", "a.1.mlp.ffn"]) == "a.*.ffn"


def test_sizes_are_exchanged_in_every_term_and_others_become_numbers() -> None:
    old, kept, new = Size("old", 4), Size("kept", 2), Size("new", 4)
    extents = {"w": {0: Extent.of(3, old, 8) + Extent.of(kept)}, "v": {0: Extent.of(kept)}}
    found = replace_sizes(extents, {old: new})
    assert list(found) == ["w"]
    assert repr(found["w"][0]) == "3 * new * 8 + 2"
