"""Broken, foreign and hostile checkpoints: one clear line that names the file and the array, before one is read."""

import io
import json
import pickle
import struct
import warnings
import zipfile

import numpy as np
import pytest
from vits import name_of, randomised, small

from tinyvit import load_pretrained
from tinyvit.errors import InputError
from tinyvit.models import ViTConfig
from tinyvit.models.published import save_pretrained
from tinyvit.models.published.google import GOOGLE
from tinyvit.models.published.huggingface import DINOV2, VIT
from tinyvit.models.published.rules import arrays_of
from tinyvit.models.published.stored import StoredArray
from tinyvit.models.published.timm import TIMM

CONFIG = ViTConfig(image_size=32, patch_size=16, width=192, depth=2, heads=3, mlp_width=20, classes=5)


@pytest.fixture
def nothing_is_read(monkeypatch):
    def read(array):
        pytest.fail(f"{array.name} was read")

    monkeypatch.setattr(StoredArray, "read", read)


def refused(path, **arguments) -> str:
    """The one line with which a file is refused; it names the file."""
    with pytest.raises(InputError) as caught:
        load_pretrained(path, **arguments)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


def arrays_in(source, config: ViTConfig = CONFIG) -> dict[str, np.ndarray]:
    """A small model's arrays as a source has them."""
    model = randomised(config)
    parameters = {name: parameter.data for name, parameter in model.named_parameters()}
    return {name: np.ascontiguousarray(array) for name, array in arrays_of(parameters, source.rules(config)).items()}


def write_safetensors(path, arrays: dict[str, np.ndarray], change=lambda header: None, after: bytes = b""):
    """A safetensors file, whose header ``change`` may make lie."""
    header, data = {}, b""
    for name, array in arrays.items():
        header[name] = {
            "dtype": "F32",
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + array.nbytes],
        }
        data += array.tobytes()
    text = change(header) or json.dumps(header)
    text = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data + after)
    return path


def write(path, source, arrays: dict[str, np.ndarray]):
    if source is not GOOGLE:
        return write_safetensors(path.with_suffix(".safetensors"), arrays)
    np.savez(path.with_suffix(".npz"), **arrays)
    return path.with_suffix(".npz")


SOURCES = pytest.mark.parametrize("source", [GOOGLE, TIMM, VIT], ids=lambda source: source.name)


@SOURCES
def test_every_array_is_missed(tmp_path, source, nothing_is_read):
    arrays = arrays_in(source)
    for name in arrays:
        # Without these it is another model, with mean pooling, without a head.
        if name in ("cls", "cls_token", "head.weight", "head/kernel", "classifier.weight"):
            continue
        message = refused(
            write(tmp_path / "model", source, {other: arrays[other] for other in arrays if other != name})
        )
        assert repr(name) in message and "lacks" in message


@SOURCES
def test_an_unknown_array_is_named(tmp_path, source, nothing_is_read):
    arrays = arrays_in(source)
    prefix = {GOOGLE: "Transformer/encoderblock_0/", TIMM: "blocks.0.", VIT: "encoder.layer.0."}[source]
    for name in ("adapter", f"{prefix}adapter", prefix.replace("0", "one") + "x"):
        assert repr(name) in refused(write(tmp_path / "model", source, {**arrays, name: np.ones(3, np.float32)}))


@SOURCES
def test_every_wrong_shape_is_named(tmp_path, source, nothing_is_read):
    arrays = arrays_in(source)
    for i, (name, array) in enumerate(arrays.items()):
        for other in ((array.ravel()[:-1],), (array[None], array[:0]))[i % 2]:
            message = refused(write(tmp_path / "model", source, {**arrays, name: other}))
            # One that others are measured by makes them look wrong.
            assert "expected" in message or "how many heads" in message


def test_a_wrong_shape_says_what_was_expected(tmp_path, nothing_is_read):
    arrays = {**arrays_in(TIMM), "blocks.1.norm2.bias": np.ones(191, np.float32)}
    message = refused(write(tmp_path / "model", TIMM, arrays))
    assert "'blocks.1.norm2.bias' has shape (191,), expected (192,)" in message


def test_a_number_of_blocks_that_is_a_lie(tmp_path, nothing_is_read):
    """It is counted in names, not believed of the largest number."""
    arrays = {**arrays_in(TIMM), "blocks.999999999.norm1.bias": np.ones(192, np.float32)}
    assert "'blocks.2.attn.proj.bias'" in refused(write(tmp_path / "model", TIMM, arrays))


def test_integers_are_no_weights(tmp_path):
    arrays = {**arrays_in(GOOGLE), "cls": np.ones((1, 1, 192), np.int64)}
    assert "'cls' is of type int64" in refused(write(tmp_path / "model", GOOGLE, arrays))


HUGE = 12 * 10**8


@pytest.mark.parametrize(
    "changes",
    [
        {"depth": HUGE},
        {"depth": 900_000},
        {"stem_depths": [10**9]},
        {"image_size": HUGE + 1},
        {"width": HUGE},
        {"position_embedding": "sinusoidal", "image_size": 960_000},
    ],
    ids=name_of,
)
def test_a_config_in_the_file_that_lies(tmp_path, changes, nothing_is_read):
    """At once: no such model is made."""
    save_pretrained(randomised(small()), tmp_path / "model.safetensors", "timm")
    content = (tmp_path / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    config = json.loads(header["__metadata__"]["tinyvit_config"])
    header["__metadata__"]["tinyvit_config"] = json.dumps({**config, **changes})
    text = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    refused(tmp_path / "model.safetensors")
    header["__metadata__"]["tinyvit_config"] = "[]"
    text = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    assert "altered" in refused(tmp_path / "model.safetensors")


def lie(name: str, field: str, value):
    """A header in which one field of one array is another."""

    def change(header):
        header[name][field] = value

    return change


def exchanged(header):
    header["b"]["data_offsets"] = [8, 20]
    header["c"]["data_offsets"] = [20, 32]


LIES = {
    "bytes beyond the end": (lie("c", "data_offsets", [24, 9999]), "'c' should lie at bytes 24 to 9999 of 36"),
    "too few bytes for the shape": (lie("b", "shape", [4]), "'b'"),
    "a shape beyond all numbers": (lie("b", "shape", [2**62, 2**62]), "'b'"),
    "a negative shape": (lie("b", "shape", [-1, -3]), "'b'"),
    "a shape of text": (lie("b", "shape", "3"), "'b'"),
    "a fractional shape": (lie("b", "shape", [3.0]), "'b'"),
    "a true shape": (lie("b", "shape", [3, True]), "'b'"),
    "backwards": (lie("b", "data_offsets", [24, 12]), "'b'"),
    "three offsets": (lie("b", "data_offsets", [12, 20, 24]), "'b'"),
    "an unknown type": (lie("b", "dtype", "F8_E4M3"), "'b'"),
    "a type that is none": (lie("b", "dtype", []), "'b'"),
    "no type": (lambda header: header["b"].pop("dtype") and None, "'b'"),
    "an entry that is none": (lambda header: json.dumps({**header, "b": 7}), "'b'"),
    "an overlap": (exchanged, "'b'"),
    "a gap": (lambda header: header.pop("b") and None, "'c'"),
    "bytes of no array": (lambda header: header.pop("c") and None, "12 bytes"),
    "a name twice": (lambda header: json.dumps(header)[:-1] + ', "b": {}}', "'b' stands twice"),
    "no JSON": (lambda header: "{nothing", "not JSON"),
    "no text": (lambda header: b"\xff" * 10, "not JSON"),
    "a list": (lambda header: "[]", "no names"),
    "a deep list": (lambda header: "[" * 200_000, "not JSON"),
    "metadata of numbers": (lambda header: json.dumps({**header, "__metadata__": {"a": 1}}), "metadata"),
    "metadata of a list": (lambda header: json.dumps({**header, "__metadata__": []}), "metadata"),
}


@pytest.mark.parametrize("change, named", LIES.values(), ids=LIES.keys())
def test_a_safetensors_header_that_lies(tmp_path, change, named, nothing_is_read):
    arrays = {name: np.ones(3, np.float32) for name in "abc"}
    assert named in refused(write_safetensors(tmp_path / "model.safetensors", arrays, change))


def test_a_safetensors_file_of_another_length(tmp_path, nothing_is_read):
    path = write_safetensors(tmp_path / "model.safetensors", {name: np.ones(3, np.float32) for name in "abc"})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        refused(path)
    path.write_bytes(content + b"\0")
    assert "1 bytes after the last array" in refused(path)


def archive(path, *members, compression=zipfile.ZIP_STORED):
    """A zip file of (name, bytes)."""
    with zipfile.ZipFile(path, "w", compression) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is in it twice
        for name, content in members:
            file.writestr(name, content)
    return path


def npy(array: np.ndarray, header: dict | None = None) -> bytes:
    """A .npy file, with other values in its header."""
    file = io.BytesIO()
    if header is None:
        np.lib.format.write_array(file, array)
        return file.getvalue()
    values = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(file, {**values, **header})
    return file.getvalue() + array.tobytes()


class Trap:
    """Unpickling it fails the test."""

    def __reduce__(self):
        return (pytest.fail, ("the pickle was run",))


ONES = np.ones(3, np.float32)
BAD_MEMBERS = {
    "an array of objects": (("cls.npy", npy(np.array([None, 1], object))), "'cls' holds Python objects"),
    "a pickle that calls itself one": (
        ("cls.npy", npy(np.array([None], object))[:128] + pickle.dumps(Trap())),
        "'cls' holds Python objects",
    ),
    "more numbers than bytes": (("cls.npy", npy(ONES, {"shape": (4,)})), "'cls' has 12 bytes"),
    "fewer numbers than bytes": (("cls.npy", npy(ONES, {"shape": (2,)})), "'cls' has 12 bytes"),
    "a shape beyond all numbers": (("cls.npy", npy(ONES, {"shape": (2**62, 2**62)})), "'cls' has 12 bytes"),
    "a negative shape": (("cls.npy", npy(ONES, {"shape": (-1, -3)})), "'cls' has 12 bytes"),
    "text": (("cls.npy", npy(np.array(["abc"]))), "'cls' is of type"),
    "records": (("cls.npy", npy(np.zeros(3, [("a", "f4")]))), "'cls' is of type"),
    "a header without end": (("cls.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{"), "'cls' is no whole array"),
    "a header that is a program": (
        ("cls.npy", b"\x93NUMPY\x01\x00\x30\x00" + b"__import__('os').abort()".ljust(48)),
        "'cls' is no whole array",
    ),
    "another version": (("cls.npy", b"\x93NUMPY\x09\x00" + npy(ONES)[8:]), "'cls' is no whole array"),
    "no .npy file": (("cls.npy", b"nothing"), "'cls' is no whole array"),
    "an empty member": (("cls.npy", b""), "'cls' is no whole array"),
    "a file of another kind": (("notes.txt", b"hello"), "'notes.txt' is no array"),
}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
@pytest.mark.parametrize("member, named", BAD_MEMBERS.values(), ids=BAD_MEMBERS.keys())
def test_a_bad_array_in_an_npz(tmp_path, member, named, compression, nothing_is_read):
    path = archive(tmp_path / "model.npz", ("embedding/kernel.npy", npy(ONES)), member, compression=compression)
    assert named in refused(path)


def test_a_zip_bomb(tmp_path, nothing_is_read):
    """A thousandth of what it becomes; the checkpoint of a fresh head, zeros too, is smaller."""
    path = archive(
        tmp_path / "model.npz",
        ("a.npy", npy(ONES)),
        ("cls.npy", npy(np.zeros(10_000_000, np.float32))),
        compression=zipfile.ZIP_DEFLATED,
    )
    message = refused(path)
    assert "zip bomb" in message and "'cls'" in message


def test_a_bomb_that_hides_its_size(tmp_path):
    """The directory says 140 bytes: no more are read."""
    hidden = npy(np.zeros(1_000_000, np.float32))
    path = archive(tmp_path / "model.npz", ("cls.npy", hidden), compression=zipfile.ZIP_DEFLATED)
    content = path.read_bytes().replace(struct.pack("<I", len(hidden)), struct.pack("<I", 140))
    path.write_bytes(content)
    assert "'cls'" in refused(path)


def directory_entry(content: bytes) -> int:
    """Where the first entry of a zip file's directory begins."""
    return content.index(b"PK\x01\x02")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_a_member_longer_in_the_directory_than_in_the_file(tmp_path, compression):
    """What follows it in the file, or in memory, is not taken for weights."""
    config = ViTConfig(image_size=2, patch_size=1, channels=1, width=64, depth=1, heads=1, mlp_width=1, classes=0)
    arrays = arrays_in(GOOGLE, config)
    short = npy(arrays["cls"][:, :, :-2], {"shape": (1, 1, 64)})
    others = [(f"{name}.npy", npy(array)) for name, array in arrays.items() if name != "cls"]
    path = archive(tmp_path / "model.npz", ("cls.npy", short), *others, compression=compression)
    content = bytearray(path.read_bytes())
    place = directory_entry(content) + 24
    content[place : place + 4] = struct.pack("<I", len(short) + 8)
    path.write_bytes(content)
    assert "'cls'" in refused(path)


def test_a_member_whose_local_header_leads_elsewhere(tmp_path, nothing_is_read):
    """Into the file's comment, which holds the header of an array, and beyond the end of the file."""
    path = archive(tmp_path / "model.npz", ("cls.npy", npy(ONES)))
    with zipfile.ZipFile(path, "a") as file:
        file.comment = npy(ONES)[:128]
    content = bytearray(path.read_bytes())
    content[28:30] = struct.pack("<H", len(content) - 128 - 30 - len("cls.npy"))
    path.write_bytes(content)
    assert "'cls' is no whole array (it ends beyond the end" in refused(path)


def test_members_that_overlap(tmp_path, nothing_is_read):
    """Many names for the same bytes: another kind of bomb."""
    path = archive(tmp_path / "model.npz", ("aaa.npy", npy(ONES)), ("bbb.npy", npy(ONES)))
    content = bytearray(path.read_bytes())
    place = content.rindex(b"bbb.npy") - 4
    content[place : place + 4] = struct.pack("<I", 0)
    path.write_bytes(content)
    assert "does not fit" in refused(path)


def test_a_name_twice_in_an_npz(tmp_path, nothing_is_read):
    path = archive(tmp_path / "model.npz", ("cls.npy", npy(ONES)), ("cls.npy", npy(ONES)))
    assert "'cls' is in it twice" in refused(path)


@pytest.mark.parametrize("offset, value, named", [(8, 1, "encrypted"), (10, 14, "compressed in a way")])
def test_an_encrypted_or_strangely_compressed_member(tmp_path, offset, value, named, nothing_is_read):
    path = archive(tmp_path / "model.npz", ("cls.npy", npy(ONES)))
    content = bytearray(path.read_bytes())
    content[directory_entry(content) + offset] = value
    path.write_bytes(content)
    message = refused(path)
    assert "'cls'" in message and named in message


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_of_another_length(tmp_path, save, nothing_is_read):
    path = tmp_path / "model.npz"
    save(path, **{"embedding/kernel": np.ones((2, 2)), "cls": np.ones(3)})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        refused(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed, None], ids=["stored", "deflated", "safetensors"])
def test_a_byte_altered_anywhere(tmp_path, save):
    """Refused in one line, or another number somewhere in the weights: never another error."""
    source, path = (GOOGLE, tmp_path / "model.npz") if save else (TIMM, tmp_path / "model.safetensors")
    config = ViTConfig(image_size=2, patch_size=1, channels=1, width=192, depth=1, heads=3, mlp_width=1, classes=0)
    arrays = arrays_in(source, config)
    if save:
        save(path, **arrays)
    else:
        write_safetensors(path, arrays)
    content = path.read_bytes()
    random = np.random.default_rng(0)
    ends = [*random.integers(0, 300, 100), *random.integers(len(content) - 2000, len(content), 150)]
    for place in [*ends, *random.integers(0, len(content), 50)]:
        altered = bytearray(content)
        altered[place] ^= 1 << random.integers(8)
        path.write_bytes(altered)
        try:
            model = load_pretrained(path)
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert model.config.width == 192


def test_an_altered_file_of_tinyvits_own(tmp_path):
    """These carry a checksum, which is verified."""
    save_pretrained(randomised(small()), tmp_path / "model.safetensors")
    content = bytearray((tmp_path / "model.safetensors").read_bytes())
    content[-100] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    assert "checksum" in refused(tmp_path / "model.safetensors")


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_with_the_way_out(tmp_path, protocol):
    path = tmp_path / "model.pth"
    path.write_bytes(pickle.dumps({"w": Trap()}, protocol))
    message = refused(path)
    assert "is a pickle" in message and "python -c" in message and str(tmp_path / "model.safetensors") in message


def test_a_pytorch_archive_is_refused_with_the_way_out(tmp_path):
    path = archive(tmp_path / "pytorch_model.bin", ("archive/data.pkl", pickle.dumps(Trap())), ("archive/data/0", b"1"))
    assert "is a pickle" in refused(path)
    with pytest.raises(InputError, match=r"pytorch_model\.bin is a pickle"):
        load_pretrained(tmp_path)


def test_folders(tmp_path):
    assert "No such file" in refused(tmp_path / "none")
    assert "folder without model.safetensors" in refused(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    arrays = arrays_in(VIT)
    for text, named in (
        ("{", "cannot read"),
        ("[]", "no names"),
        ("{}", "no weight_map"),
        ('{"weight_map": {"a": 1}}', "no weight_map"),
        ('{"weight_map": {"a": "../one.safetensors"}}', "not the name of a file"),
        ('{"weight_map": {"a": "one.safetensors"}}', "cannot read"),
    ):
        index.write_text(text)
        with pytest.raises(InputError, match=named):
            load_pretrained(tmp_path)
    write_safetensors(tmp_path / "one.safetensors", arrays)
    index.write_text(json.dumps({"weight_map": dict.fromkeys([*arrays, "x"], "one.safetensors")}))
    with pytest.raises(InputError, match=r"one\.safetensors lacks 'x'"):
        load_pretrained(tmp_path)
    index.write_text(json.dumps({"weight_map": dict.fromkeys(list(arrays)[1:], "one.safetensors")}))
    with pytest.raises(InputError, match=r"one\.safetensors has .*says nothing"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize(
    "name, text",
    [
        ("config.json", "{"),
        ("config.json", '{"num_attention_heads": "3"}'),
        ("config.json", '{"num_attention_heads": 0}'),
        ("config.json", '{"num_attention_heads": 5}'),
        ("config.json", '{"layer_norm_eps": null}'),
        ("config.json", '{"hidden_act": "relu"}'),
        ("config.json", '{"hidden_act": ["gelu"]}'),
        ("preprocessor_config.json", '{"image_mean": [0.5, 0.5], "image_std": [1, 1]}'),
        ("preprocessor_config.json", '{"image_mean": 5}'),
        ("preprocessor_config.json", '{"image_mean": [null], "image_std": [1]}'),
        ("preprocessor_config.json", '{"size": {"longest": 1}, "do_center_crop": true, "crop_size": 7}'),
        ("preprocessor_config.json", '{"size": 0}'),
        ("preprocessor_config.json", '{"size": "224"}'),
    ],
)
def test_files_beside_that_make_no_sense(tmp_path, name, text):
    write_safetensors(tmp_path / "model.safetensors", arrays_in(VIT))
    load_pretrained(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        load_pretrained(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("said", ["5", '{"mean": 5}', '{"crop_pct": "x"}', '{"crop_pct": 0}', '{"mean": [0.5, 0.5]}'])
def test_a_config_of_timm_that_makes_no_sense(tmp_path, said):
    write_safetensors(tmp_path / "model.safetensors", arrays_in(TIMM))
    (tmp_path / "config.json").write_text(f'{{"pretrained_cfg": {said}}}')
    with pytest.raises(InputError) as caught:
        load_pretrained(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("said", ['{"act_layer": "quick_gelu"}', '{"norm_layer": "rmsnorm"}', '{"num_heads": 5}'])
def test_arguments_of_timm_that_tinyvit_does_not_have(tmp_path, said):
    write_safetensors(tmp_path / "model.safetensors", arrays_in(TIMM))
    (tmp_path / "config.json").write_text(f'{{"model_args": {said}}}')
    with pytest.raises(InputError, match=r"quick_gelu|rmsnorm|5 heads"):
        load_pretrained(tmp_path)


def test_models_that_tinyvit_does_not_have(tmp_path):
    """Said at once, with the array that shows it."""
    giant = {**arrays_in(TIMM), "blocks.0.mlp.fc1.weight": np.ones((40, 192), np.float32)}
    assert "SwiGLU" in refused(write(tmp_path / "model", TIMM, giant))
    clip = {**arrays_in(TIMM), "norm_pre.weight": ONES}
    assert "'norm_pre.weight'" in refused(write(tmp_path / "model", TIMM, clip))
    pooled = {**arrays_in(TIMM), "fc_norm.weight": ONES}
    assert "'fc_norm.weight'" in refused(write(tmp_path / "model", TIMM, pooled))
    unknown = {name: array for name, array in arrays_in(TIMM).items() if name != "cls_token"}
    unknown["pos_embed"] = unknown["pos_embed"][:, 1:]
    assert "which GELU" in refused(write(tmp_path / "model", TIMM, unknown))
    dinov2 = arrays_in(DINOV2, ViTConfig(**{**vars(CONFIG), "layer_scale": 0.1}))
    path = write(tmp_path / "model", VIT, dinov2)
    assert "'classifier.weight'" in refused(path) and "classes=0" in refused(path)
    assert load_pretrained(path, classes=3).config.classes == 3
    swiglu = {**dinov2, "encoder.layer.0.mlp.weights_in.weight": ONES}
    assert "SwiGLU" in refused(write(tmp_path / "model", VIT, swiglu), classes=0)
    assert "no ViT that tinyvit knows" in refused(write(tmp_path / "model", VIT, {"conv1.weight": ONES}))
    wide = {**arrays_in(GOOGLE), "Transformer/posembed_input/pos_embedding": np.ones((1, 7, 192), np.float32)}
    assert "square" in refused(write(tmp_path / "model", GOOGLE, wide))
