"""tensorflow_model_server's command line."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2

from schema.errors import UserError
from serving.model_server import flags
from serving.model_server.__main__ import main
from serving.model_server.options import ServerOptions, single_model
from serving.process import address, cores

BASE = "--model_base_path=/models/m"


def _options(*arguments: str) -> ServerOptions:
    return flags.parse([BASE, *arguments]).options


def _refusal(*arguments: str) -> str:
    with pytest.raises(UserError) as error:
        flags.parse(arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


class TestSyntax:
    @pytest.mark.parametrize(
        "arguments",
        [["--model_name=a"], ["--model_name", "a"], ["--model_name=b", "--model_name=a"]],
    )
    def test_a_value_is_after_an_equals_sign_or_a_space_and_the_last_one_counts(self, arguments):
        assert _options(*arguments).models == single_model("/models/m", "a")

    @pytest.mark.parametrize(
        ("argument", "value"),
        [
            ("--enable_batching", True),
            ("--enable_batching=true", True),
            ("--enable_batching=1", True),
            ("--enable_batching=false", False),
            ("--enable_batching=0", False),
            ("--noenable_batching", False),
        ],
    )
    def test_what_is_on_or_off(self, argument, value):
        assert _options(argument).enable_batching is value

    def test_a_flag_that_is_on_or_off_takes_true_or_false_after_a_space_and_nothing_else(self):
        assert _options("--enable_model_warmup", "false").enable_model_warmup is False
        options = _options("--enable_batching", "--model_name", "a")
        assert options.enable_batching
        assert options.models.model_config_list.config[0].name == "a"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--prot=1"], "There is no flag --prot; did you mean --port?"),
            (["--gibberish"], "There is no flag --gibberish; see --help."),
            (["--noport"], "There is no flag --noport; did you mean --port?"),
            (["model"], "'model' is no flag; flags begin with two dashes, see --help."),
            (["-port=1"], "'-port=1' is no flag"),
            (["--model_name"], "--model_name has no value; write --model_name=..."),
            (["--enable_batching=maybe"], "--enable_batching is 'maybe'; expected true or false."),
            (["--max_num_load_retries=x"], "is 'x'; expected a whole number."),
            (["--max_num_load_retries=1.5"], "is '1.5'; expected a whole number."),
            (["--max_num_load_retries=-1"], "is -1; expected 0 or more."),
            (["--per_process_gpu_memory_fraction=2"], "is 2; expected 0.0 to 1.0."),
            (["--per_process_gpu_memory_fraction=nan"], "is nan; expected 0.0 to 1.0."),
            (["--port=65536"], "--port is '65536'; expected a port from 0 to 65535, or any."),
            (["--port=-1"], "expected a port from 0 to 65535"),
            (["--port="], "expected a port from 0 to 65535"),
            (["--grpc_channel_arguments=a"], "has 'a'; expected name=value."),
        ],
    )
    def test_mistakes_are_named(self, arguments, message):
        assert message in _refusal(BASE, *arguments)

    @pytest.mark.parametrize(
        ("name", "least", "below"),
        [
            ("rest_api_timeout_in_ms", "1", "0"),
            ("num_load_threads", "0", "-1"),
            ("max_num_load_retries", "0", "-1"),
            ("tensorflow_session_parallelism", "0", "-1"),
            ("tensorflow_intra_op_parallelism", "0", "-1"),
            ("tensorflow_inter_op_parallelism", "0", "-1"),
            ("per_process_gpu_memory_fraction", "0", "-0.01"),
            ("grpc_max_threads", "1", "0"),
            ("max_message_bytes", "1024", "1023"),
            ("max_requests_in_flight", "1", "0"),
            ("max_queued_requests", "0", "-1"),
            ("max_queued_bytes", "1024", "1023"),
            ("max_connections", "1", "0"),
            ("header_timeout_s", "0.1", "0.09"),
            ("stop_grace_s", "0", "-0.1"),
            ("traffic_log_rate", "0", "-0.1"),
        ],
    )
    def test_the_least_of_a_number_is_taken_and_no_less(self, name, least, below):
        assert flags.parse([BASE, f"--{name}={least}"]).options
        assert f"--{name} is {below}; expected " in _refusal(BASE, f"--{name}={below}")

    @pytest.mark.parametrize("name", ["per_process_gpu_memory_fraction", "traffic_log_rate"])
    def test_a_share_is_at_most_all(self, name):
        assert flags.parse([BASE, f"--{name}=1"]).options
        assert "is 1.01; expected 0.0 to 1.0." in _refusal(BASE, f"--{name}=1.01")


class TestWhatToServe:
    def test_one_model_by_its_folder(self):
        assert flags.parse([BASE]).options.models == single_model("/models/m", "default")

    def test_a_folder_beside_the_working_directory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        options = flags.parse(["--model_base_path=models/m"]).options
        assert options.models == single_model(tmp_path / "models" / "m", "default")

    def test_several_models_by_a_file(self, tmp_path):
        file = tmp_path / "models.config"
        file.write_text(str(single_model("/models/x", "x")))
        options = flags.parse(
            [f"--model_config_file={file}", "--model_config_file_poll_wait_seconds=5", BASE]
        ).options
        assert options.models == single_model("/models/x", "x")
        assert options.model_config_file == file
        assert options.model_config_file_poll_wait_seconds == 5

    def test_something_must_be_served(self):
        assert _refusal() == (
            "There is nothing to serve: give --model_base_path or --model_config_file."
        )

    def test_a_mistake_in_a_file_is_told_as_it_is(self, tmp_path):
        file = tmp_path / "models.config"
        file.write_text("model_config_list {\n config { nam: 'x' } }")
        assert f"{file}:2: a ModelConfig has no field nam" in _refusal(
            f"--model_config_file={file}"
        )


class TestPorts:
    def test_those_of_tensorflow_serving(self):
        assert (_options().port, _options().rest_api_port) == (8500, None)
        options = _options("--port=0", "--rest_api_port=8501")
        assert (options.port, options.rest_api_port) == (None, 8501)

    def test_any_free_one(self):
        options = _options("--port=any", "--rest_api_port=any")
        assert (options.port, options.rest_api_port) == (0, 0)

    def test_a_port_for_two_is_refused(self):
        assert "are both 9000" in _refusal(BASE, "--port=9000", "--rest_api_port=9000")

    def test_there_must_be_a_way_in(self):
        assert "Nobody could reach the server" in _refusal(BASE, "--port=0")
        assert _options("--port=0", "--grpc_socket_path=/s").grpc_socket_path == "/s"

    @pytest.fixture
    def keys(self, tmp_path):
        file = tmp_path / "keys"
        file.write_text("key\n")
        return f"--api_key_file={file}"

    @pytest.fixture
    def tls(self, tmp_path):
        file = tmp_path / "ssl.config"
        file.write_text('server_key: "k" server_cert: "c"')
        return f"--ssl_config_file={file}"

    def test_who_asks_for_no_key_listens_on_loopback_unless_told_otherwise(self, keys, tls):
        assert _options().host == "127.0.0.1"
        assert _options("--host=0.0.0.0").host == "0.0.0.0"
        assert _options(keys).host == "0.0.0.0"
        assert _options(tls).host == "0.0.0.0"
        assert _options(tls, "--host=localhost").host == "localhost"

    @pytest.mark.parametrize(
        ("given", "host", "with_port"),
        [
            ("::1", "::1", "[::1]:80"),
            ("[::1]", "::1", "[::1]:80"),
            ("::", "::", "[::]:80"),
            ("localhost", "localhost", "localhost:80"),
            ("10.0.0.1", "10.0.0.1", "10.0.0.1:80"),
        ],
    )
    def test_addresses_of_every_kind(self, given, host, with_port):
        options = _options(f"--host={given}")
        assert options.host == host
        assert address(options.host, 80) == with_port

    def test_an_empty_host(self):
        assert "--host is empty" in _refusal(BASE, "--host=")


class TestValues:
    def test_without_flags_all_is_as_in_tensorflow_serving(self):
        options = _options()
        assert options.max_num_load_retries == 5
        assert options.load_retry_interval_s == 60
        assert options.file_system_poll_wait_seconds == 1
        assert options.rest_api_timeout_s == 30
        assert options.saved_model_tags == ("serve",)
        assert options.enable_model_warmup
        assert not options.enable_batching
        assert options.max_requests_in_flight == 4 * cores()
        assert options.session_config == b""

    def test_options_made_in_code_have_the_same_defaults(self):
        assert ServerOptions(single_model("/models/m"), port=8500) == _options()

    def test_times_are_in_seconds(self):
        options = _options("--load_retry_interval_micros=1500", "--rest_api_timeout_in_ms=250")
        assert options.load_retry_interval_s == 0.0015
        assert options.rest_api_timeout_s == 0.25

    def test_tags_have_commas_between(self):
        assert _options("--saved_model_tags=serve,gpu").saved_model_tags == ("serve", "gpu")

    def test_grpc_s_arguments_are_numbers_where_they_look_like_it(self):
        options = _options("--grpc_channel_arguments=grpc.max_connection_age_ms=2000,a=b,c=-1")
        assert options.grpc_channel_arguments == (
            ("grpc.max_connection_age_ms", 2000),
            ("a", "b"),
            ("c", -1),
        )

    def test_with_batching_there_are_enough_requests_to_make_batches_of(self):
        assert _options("--enable_batching").max_requests_in_flight == 64 * cores()

    def test_threads_of_grpc_are_requests_in_flight(self):
        assert _options("--grpc_max_threads=3").max_requests_in_flight == 3
        options = _options("--grpc_max_threads=3", "--max_requests_in_flight=5")
        assert options.max_requests_in_flight == 5

    def test_files_are_read(self, tmp_path):
        batching = tmp_path / "batching.config"
        batching.write_text("max_batch_size { value: 7 }")
        monitoring = tmp_path / "monitoring.config"
        monitoring.write_text("prometheus_config { enable: true }")
        options = _options(
            "--enable_batching",
            f"--batching_parameters_file={batching}",
            f"--monitoring_config_file={monitoring}",
        )
        assert options.batching_parameters.max_batch_size.value == 7
        assert options.monitoring.prometheus_config.enable

    def test_batching_parameters_without_batching_are_a_mistake(self, tmp_path):
        assert "without --enable_batching" in _refusal(BASE, "--batching_parameters_file=/x")


class TestSessionConfig:
    def _config(self, *arguments: str) -> config_pb2.ConfigProto:
        return config_pb2.ConfigProto.FromString(_options(*arguments).session_config)

    def test_threads_together_or_apart(self):
        both = self._config("--tensorflow_session_parallelism=3")
        assert (both.intra_op_parallelism_threads, both.inter_op_parallelism_threads) == (3, 3)
        one = self._config("--tensorflow_intra_op_parallelism=2")
        assert (one.intra_op_parallelism_threads, one.inter_op_parallelism_threads) == (2, 0)
        assert "give either the one or the others" in _refusal(
            BASE, "--tensorflow_session_parallelism=3", "--tensorflow_inter_op_parallelism=2"
        )

    def test_flags_come_before_the_file(self, tmp_path):
        file = tmp_path / "session.config"
        file.write_text("inter_op_parallelism_threads: 5 intra_op_parallelism_threads: 6")
        config = self._config(
            f"--tensorflow_session_config_file={file}", "--tensorflow_inter_op_parallelism=1"
        )
        assert (config.inter_op_parallelism_threads, config.intra_op_parallelism_threads) == (1, 6)

    def test_memory_of_the_gpu_and_half_precision(self):
        config = self._config("--per_process_gpu_memory_fraction=0.5", "--mixed_precision=bfloat16")
        assert config.gpu_options.per_process_gpu_memory_fraction == 0.5
        rewrites = config.graph_options.rewrite_options
        on = rewriter_config_pb2.RewriterConfig.ON
        assert rewrites.auto_mixed_precision_onednn_bfloat16 == on
        assert "only bfloat16 is supported" in _refusal(BASE, "--mixed_precision=fp8")


class TestSupport:
    @pytest.mark.parametrize(
        "argument",
        [
            "--use_alts_credentials",
            "--platform_config_file=/x",
            "--prefer_tflite_model",
            "--thread_pool_factory_config_file=/x",
        ],
    )
    def test_what_cannot_be_done_is_refused_by_name_with_the_reason(self, argument):
        name = argument[2:].partition("=")[0]
        assert _refusal(BASE, argument).startswith(f"--{name} is not supported: ")

    @pytest.mark.parametrize(
        "argument", ["--use_alts_credentials=false", "--noprefer_tflite_model"]
    )
    def test_not_to_ask_for_it_is_fine(self, argument):
        assert _options(argument) == _options()

    def test_what_has_no_effect_is_said(self):
        command = flags.parse([BASE, "--flush_filesystem_caches=false", "--num_tflite_pools=3"])
        assert command.options == _options()
        assert [
            sentence.partition(" has no effect: ")[0] for sentence in command.without_effect
        ] == [
            "--flush_filesystem_caches",
            "--num_tflite_pools",
        ]

    def test_every_flag_of_tensorflow_serving_is_known(self):
        """The list of its main.cc, read on 2026-07-30."""
        upstream = """
            port grpc_socket_path rest_api_port rest_api_num_threads rest_api_timeout_in_ms
            rest_api_enable_cors_support enable_batching allow_version_labels_for_unavailable_models
            batching_parameters_file enable_per_model_batching_parameters model_config_file
            model_config_file_poll_wait_seconds model_name model_base_path num_load_threads
            num_unload_threads max_num_load_retries load_retry_interval_micros
            file_system_poll_wait_seconds flush_filesystem_caches tensorflow_session_parallelism
            tensorflow_session_config_file tensorflow_intra_op_parallelism
            tensorflow_inter_op_parallelism use_alts_credentials ssl_config_file
            platform_config_file per_process_gpu_memory_fraction saved_model_tags
            grpc_channel_arguments grpc_max_threads enable_model_warmup
            num_request_iterations_for_warmup version monitoring_config_file
            remove_unused_fields_from_bundle_metagraph prefer_tflite_model num_tflite_pools
            num_tflite_interpreters_per_pool enable_signature_method_name_check
            xla_cpu_compilation_enabled xla_gpu_compilation_enabled enable_profiler
            thread_pool_factory_config_file mixed_precision skip_initialize_tpu
            enable_grpc_healthcheck_service enable_serialization_as_tensor_content
        """
        assert [flag.name for flag in flags.TENSORFLOW_SERVING_FLAGS] == upstream.split()


class TestTexts:
    def test_help_has_every_flag_its_default_and_its_meaning(self):
        command = flags.parse(["--help"])
        assert command.options is None
        for flag in flags.FLAGS.values():
            assert f"  --{flag.name} (" in command.text
            assert flag.meaning[-15:] in re.sub(r"\s+", " ", command.text)
        assert max(map(len, command.text.splitlines())) <= 80

    def test_the_table_has_a_row_a_flag(self):
        rows = flags.markdown_table().splitlines()
        assert len(rows) == 2 + len(flags.FLAGS)
        assert all(row.count("|") == 5 for row in rows)
        assert any(row.startswith("| `--port` | `8500` | followed | port of gRPC") for row in rows)

    def test_defaults_are_written_as_they_are_given(self):
        rows = flags.markdown_table().splitlines()
        defaults = {row.split("`")[1]: row.split(" | ")[1] for row in rows[2:]}
        assert defaults["--enable_model_warmup"] == "`true`"
        assert defaults["--enable_batching"] == "`false`"
        assert defaults["--max_num_load_retries"] == "`5`"
        assert defaults["--model_base_path"] == ""
        text = flags.parse(["--help"]).text
        assert "--enable_batching (false)" in text and "--model_base_path (none)" in text

    def test_a_flag_is_said_to_be_whose_and_what_becomes_of_it(self):
        rows = {row.split("`")[1]: row for row in flags.markdown_table().splitlines()[2:]}
        assert " | followed, Seamline's own | " in rows["--max_connections"]
        assert " | followed | " in rows["--port"]
        text = re.sub(r"\s+", " ", flags.parse(["--help"]).text)
        assert "--port (8500) Port of gRPC" in text
        ignored = next(flag for flag in flags.FLAGS.values() if flag.support is flags._NO_EFFECT)
        assert f"{ignored.support.value.capitalize()}: {ignored.meaning[:20]}" in text

    def test_versions(self, capsys):
        assert main(["--version"]) == 0
        assert "TensorFlow Library: 2." in capsys.readouterr().out

    def test_a_mistake_is_one_line_on_standard_error_and_status_1(self, capsys):
        assert main(["--prot=1"]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err == "There is no flag --prot; did you mean --port?\n"

    def test_help_needs_no_tensorflow(self):
        """Whoever only misspells a flag need not wait for seconds."""
        program = "import sys; from serving.model_server.__main__ import main; main(['--help']); "
        program += "assert 'tensorflow' not in sys.modules"
        subprocess.run([sys.executable, "-c", program], check=True, cwd=os.getcwd(), timeout=60)
