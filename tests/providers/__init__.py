import pytest

# A failed assert of the contract shows its values, as one in a test file does.
pytest.register_assert_rewrite("tests.providers.contract")
