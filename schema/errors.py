"""The one exception type whose message is meant for the person at the keyboard."""


class UserError(Exception):
    """A problem whose remedy is in the reader's hands.

    The message is one or two sentences: what is wrong (naming the file, row, column or option),
    what was expected and found, and what to do next. The command line prints it without a
    traceback and exits with a status other than 0.
    """
