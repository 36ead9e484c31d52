"""The names of classes: files of them, and a class by a part of its name."""

import json

import pytest

from deconv_attr.cli.class_names import class_named, read_class_names
from deconv_attr.errors import InputError, TargetError

NAMES = ("tench", "great white shark", "Größe, 7")

FILES = {
    "a line each": "tench\ngreat white shark\nGröße, 7\n",
    "of Windows": "\ufefftench\r\ngreat white shark\r\nGröße, 7\r\n\r\n",
    "spaces around": "  tench\t\ngreat white shark \nGröße, 7",
    "a list": json.dumps(NAMES),
    "by number": json.dumps({"2": NAMES[2], "0": NAMES[0], "1": NAMES[1]}),
    "ImageNet's index": json.dumps({str(number): [f"n0144{number}", name] for number, name in enumerate(NAMES)}),
    "an ImageFolder's class_to_idx": json.dumps({name: number for number, name in enumerate(NAMES)}, indent=1),
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_names_are_read_in_the_order_of_their_numbers(text, tmp_path):
    (tmp_path / "names").write_bytes(text.encode())
    assert read_class_names(str(tmp_path / "names")) == NAMES


NO_NAMES = {
    "nothing": ("", "expected the names of classes in {}, got none"),
    "an empty list": ("[]", "expected the names of classes in {}, got none"),
    "a blank line between": ("a\n\nb\n", "expected a name for each class in {}, got '' for class 1"),
    "a number for a name": ("[3]", "expected a name for each class in {}, got 3 for class 0"),
    "an empty list for a name": ('{"0": []}', "expected a name for each class in {}, got [] for class 0"),
    "a gap": (
        '{"0": "a", "2": "b"}',
        "expected the numbers from 0 to 1, one for each class name in {}, got ('0', 'a'), ('2', 'b')",
    ),
    "one number twice": ('{"a": 0, "b": 0}', "expected the numbers from 0 to 1, one for each class name in {}"),
    "names by no number": ('{"a": "b"}', "expected the numbers from 0 to 0, one for each class name in {}"),
    "no JSON": ("[1,", "cannot read the class names {}: Expecting value"),
    "no text": ("ÿ".encode("latin-1"), "cannot read the class names {}: it is no text in UTF-8"),
}


@pytest.mark.parametrize(("text", "message"), NO_NAMES.values(), ids=NO_NAMES)
def test_a_file_that_names_no_classes_is_one_sentence(text, message, tmp_path):
    path = tmp_path / "names"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        read_class_names(str(path))
    assert str(caught.value).startswith(message.format(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the class names .*gone: No such file or directory"):
        read_class_names(str(tmp_path / "gone"))
    with pytest.raises(InputError, match=r"cannot read the class names .*: Is a directory"):
        read_class_names(str(tmp_path))


DOGS = ("golden retriever", "Labrador retriever", "dog", "hot dog", "tabby, tabby cat", *(f"cat {n}" for n in range(9)))


@pytest.mark.parametrize(
    ("word", "index"),
    [("golden", 0), ("GOLDEN R", 0), ("labrador", 1), ("dog", 2), ("Dog", 2), ("hot", 3), ("tabby", 4), ("cat 7", 12)],
)
def test_a_name_is_found_by_a_part_of_it_and_a_whole_name_comes_first(word, index):
    assert class_named(word, DOGS, "net") == index


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "retriever",
            "expected the name of one class, got 'retriever', a part of 2: golden retriever (0), "
            "Labrador retriever (1)",
        ),
        (
            "cat",
            "expected the name of one class, got 'cat', a part of 10: tabby, tabby cat (4), cat 0 (5), cat 1 (6), "
            "cat 2 (7), cat 3 (8), cat 4 (9), cat 5 (10), cat 6 (11), ...",
        ),
        ("doge", "net has no class 'doge'; the nearest are dog"),
        ("shark", "net has no class 'shark'"),
    ],
)
def test_a_part_of_several_names_lists_them(word, message):
    with pytest.raises(TargetError) as caught:
        class_named(word, DOGS, "net")
    assert str(caught.value) == message
