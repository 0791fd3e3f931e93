"""TensorFlow Serving's files: read as it reads them, and mistakes told in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.config import model_server_config_pb2

from schema.errors import UserError
from serving.model_server import config_files, server_config_pb2
from serving.model_server.options import ServerOptions, single_model
from serving.process import cores

READERS = [
    config_files.model_config,
    config_files.batching_parameters,
    config_files.monitoring,
    config_files.ssl,
    config_files.session_config,
]


@pytest.fixture
def file(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "file.config"
        path.write_text(text)
        return path

    return write


def _refusal(read, path: Path) -> str:
    with pytest.raises(UserError) as error:
        read(path)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    return message.replace(str(path), "FILE")


@pytest.mark.parametrize("read", READERS)
class TestAnyFile:
    def test_one_that_does_not_exist(self, read, tmp_path):
        path = tmp_path / "none"
        assert _refusal(read, path) == "Cannot read FILE: No such file or directory."

    def test_one_that_is_a_folder(self, read, tmp_path):
        assert _refusal(read, tmp_path) == "Cannot read FILE: Is a directory."

    def test_one_that_is_no_text(self, read, tmp_path):
        path = tmp_path / "binary"
        path.write_bytes(b"\xff\xfe\x00")
        assert _refusal(read, path).startswith("FILE is no text; expected a ")

    def test_one_that_ends_too_early(self, read, file):
        assert "FILE:1: " in _refusal(read, file("model_config_list {"))

    def test_a_field_that_there_is_not(self, read, file):
        assert "has no field nonsense; expected one of " in _refusal(read, file("nonsense: 1"))


class TestModelConfig:
    def test_models_policies_and_labels(self, file):
        path = file(
            """
            # Comments are welcome.
            model_config_list {
              config {
                name: "a" base_path: "/models/a" model_platform: "tensorflow"
                model_version_policy { specific { versions: 3 versions: 5 } }
                version_labels { key: "stable" value: 3 }
              }
              config: { name: 'b', base_path: '/models/b', model_platform: 'tensorflow' }
            }
            """
        )
        config = config_files.model_config(path)
        a, b = config.model_config_list.config
        assert (a.name, a.base_path, dict(a.version_labels)) == ("a", "/models/a", {"stable": 3})
        assert list(a.model_version_policy.specific.versions) == [3, 5]
        assert b == model_server_config_pb2.ModelConfig(
            name="b", base_path="/models/b", model_platform="tensorflow"
        )

    def test_the_line_and_the_nearest_field_of_a_misspelled_one_are_named(self, file):
        path = file('model_config_list {\n  config {\n    name: "a"\n    basepath: "/a"\n  }\n}')
        assert _refusal(config_files.model_config, path) == (
            "FILE:4: a ModelConfig has no field basepath; did you mean base_path? "
            "(Error parsing text-format tensorflow.serving.ModelServerConfig.)"
        )

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "FILE lists no model; expected model_config_list"),
            ("model_config_list {}", "FILE lists no model"),
            ('model_config_list { config { base_path: "/a" } }', "model 1 has no name"),
            ('model_config_list { config { name: "a" } }', "model 1 (a) has no base_path"),
            ("custom_model_config {}", "custom_model_config is not supported"),
            (
                "model_config_list {\n  config {\n    name: 5\n  }\n}",
                "FILE:3: Expected string but found: '5'",
            ),
        ],
    )
    def test_mistakes(self, file, text, message):
        assert message in _refusal(config_files.model_config, file(text))


class TestBatchingParameters:
    def test_what_tensorflow_serving_s_guide_has(self, file):
        path = file(
            """
            max_batch_size { value: 128 }
            batch_timeout_micros { value: 0 }
            max_enqueued_batches { value: 1000000 }
            num_batch_threads { value: 8 }
            thread_pool_name { value: "batches" }
            allowed_batch_sizes: 1
            allowed_batch_sizes: 128
            """
        )
        parameters = config_files.batching_parameters(path)
        assert parameters.max_batch_size.value == 128
        assert list(parameters.allowed_batch_sizes) == [1, 128]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("max_batch_size { value: 0 }", "max_batch_size is 0; expected 1 or more."),
            ("num_batch_threads { value: -1 }", "num_batch_threads is -1; expected 1 or more."),
            ("batch_timeout_micros { value: -5 }", "is -5; expected 0 or more."),
            (
                "max_batch_size { value: 64 } allowed_batch_sizes: [1, 32]",
                "allowed_batch_sizes are [1, 32]; expected ascending sizes, the last of them 64",
            ),
            (
                "max_batch_size { value: 64 } allowed_batch_sizes: [32, 1, 64]",
                "expected ascending sizes",
            ),
            ("pad_variable_length_inputs: true", "is not supported; send inputs of one shape."),
            ("max_batch_size: 64", 'FILE:1: Expected "{"'),
            ("max_batch_size { value: many }", "Couldn't parse integer: many"),
            ("batch_timeout { value: 1 }", "did you mean batch_timeout_micros?"),
        ],
    )
    def test_mistakes(self, file, text, message):
        assert message in _refusal(config_files.batching_parameters, file(text))

    def test_what_is_not_set_is_as_in_tensorflow_serving(self, tmp_path):
        options = ServerOptions(single_model("/m"), enable_batching=True)
        batching = config_files.batching(options, tmp_path)
        assert batching.max_batch_size == 1000
        assert batching.batch_timeout_micros == 0
        assert batching.num_batch_threads == cores()
        assert batching.max_enqueued_batches == 10
        assert batching.allowed_batch_sizes == ()
        assert batching.max_request_size is None

    def test_large_requests_are_divided_into_batches_of_the_size_that_is_executed(self, file):
        path = file(
            """
            max_batch_size { value: 256 }
            enable_large_batch_splitting { value: true }
            max_execution_batch_size { value: 64 }
            allowed_batch_sizes: [8, 64]
            """
        )
        options = ServerOptions(
            single_model("/m"), batching_parameters=config_files.batching_parameters(path)
        )
        batching = config_files.batching(options, path.parent)
        assert batching.max_batch_size == 64
        assert batching.allowed_batch_sizes == (8, 64)
        assert batching.max_request_size == 256

    def test_a_version_s_own_parameters_come_first_where_they_may(self, tmp_path):
        (tmp_path / config_files.MODEL_BATCHING).write_text("max_batch_size { value: 7 }")
        common = server_config_pb2.BatchingParameters()
        common.max_batch_size.value = 5
        common.num_batch_threads.value = 3
        options = {"models": single_model("/m"), "enable_batching": True}
        options["batching_parameters"] = common
        assert config_files.batching(ServerOptions(**options), tmp_path).max_batch_size == 5
        own = ServerOptions(**options, enable_per_model_batching_parameters=True)
        assert config_files.batching(own, tmp_path).max_batch_size == 7
        # The threads are shared by all models.
        assert config_files.batching(own, tmp_path).num_batch_threads == 3


class TestMonitoring:
    def test_the_path_has_tensorflow_serving_s_default(self, file):
        config = config_files.monitoring(file("prometheus_config { enable: true }"))
        assert config.prometheus_config.enable
        assert config.prometheus_config.path == "/monitoring/prometheus/metrics"

    def test_a_path_of_one_s_own(self, file):
        path = file('prometheus_config { enable: true path: "/metrics" }')
        assert config_files.monitoring(path).prometheus_config.path == "/metrics"

    def test_a_path_begins_with_a_slash(self, file):
        path = file('prometheus_config { enable: true path: "metrics" }')
        assert "is metrics; expected one that begins with /" in _refusal(
            config_files.monitoring, path
        )


class TestSsl:
    def test_key_and_certificates_are_texts(self, file):
        path = file('server_key: "a\\nb" server_cert: "c" custom_ca: "d" client_verify: true')
        config = config_files.ssl(path)
        assert (config.server_key, config.server_cert, config.custom_ca) == ("a\nb", "c", "d")
        assert config.client_verify

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('server_key: "a"', "FILE has no server_cert"),
            ('server_cert: "a"', "FILE has no server_key"),
            (
                'server_key: "a" server_cert: "b" client_verify: true',
                "client_verify is set and custom_ca is not",
            ),
        ],
    )
    def test_what_is_missing_is_named(self, file, text, message):
        assert message in _refusal(config_files.ssl, file(text))

    def test_a_key_is_never_quoted(self, file):
        path = file('server_cert: "c"\nserver_key: "-----BEGIN PRIVATE KEY-----\nSECRET\n"')
        message = _refusal(config_files.ssl, path)
        assert "SECRET" not in message and "BEGIN" not in message
        assert message.startswith("FILE:2: this line cannot be read")


def test_the_session_s_options_are_tensorflow_s(file):
    path = file("intra_op_parallelism_threads: 3 gpu_options { allow_growth: true }")
    config = config_files.session_config(path)
    assert config == config_pb2.ConfigProto(
        intra_op_parallelism_threads=3, gpu_options={"allow_growth": True}
    )
