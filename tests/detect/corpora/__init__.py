import pytest

pytest.register_assert_rewrite("tests.detect.corpora.corpus")
