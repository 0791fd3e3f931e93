"""`python -m serving.model_server`: tensorflow_model_server's command line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from schema.errors import UserError
from serving.model_server import flags

_log = logging.getLogger("seamline.serving")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT.

    Args:
        arguments: the command line without the program's name; this process's if None.

    Returns:
        The exit status: 0 if the server ended well or only printed something, 1 if something on the
        command line or in the files that it names is wrong, which is said in one sentence.
    """
    try:
        command = flags.parse(sys.argv[1:] if arguments is None else arguments)
        if command.options is None:
            print(command.text)
            return 0
        logging.basicConfig(
            level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
        )
        for sentence in command.without_effect:
            _log.warning("%s", sentence)
        # It needs TensorFlow, which a mistake on the command line need not wait for.
        from serving.model_server.server import ModelServer, serve

        server = ModelServer.from_options(command.options)
        serve(server, announce=lambda: _log.info("every model answers"))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
