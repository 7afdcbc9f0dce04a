import hashlib
import io
import zipfile

from flwr.common.config import get_fab_config

from cohortium.fab import fab, fab_hash


def test_the_same_identity_gives_the_same_bytes_on_any_machine():
    assert fab_hash("1.0+abc") == hashlib.sha256(fab("1.0+abc")).hexdigest()
    assert fab_hash("1.0+abc") == "2543aa9535a21b27b6a07858bdebf30a0be2883b6d909666d271ba85022c85f2"


def test_identities_differ():
    assert len({fab_hash(identity) for identity in ("a", "b", 'a"\nb', "")}) == 4


def test_flower_accepts_it_and_reads_the_identity():
    config = get_fab_config(fab('1.0+"quoted"\n'))
    assert config["tool"]["flwr"]["app"]["config"]["identity"] == '1.0+"quoted"\n'


def test_a_stock_node_that_executes_it_fails_loudly():
    with zipfile.ZipFile(io.BytesIO(fab("1"))) as archive:
        source = archive.read("cohortium_identity/__init__.py").decode()
    assert source.startswith("raise RuntimeError")
