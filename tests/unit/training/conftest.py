import pytest


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A random-weights Llama with a real chat template."""
    from lift_core.training.tiny_model import make_tiny_model

    folder = tmp_path_factory.mktemp("model") / "tiny-random"
    make_tiny_model(folder)
    return folder
