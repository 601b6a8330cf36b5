"""The menu of ../ivr-menu in plain Python, on the contract itself: no library in between.

Greets, asks for 1, 2 or 9, asks again when another key comes or none, gives up after three tries. The key stays with the
call as the note `choice`; the hang-up hook logs it (`none` when there was no valid one).
"""

import wit_world
from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.hangup_hook import EndedCall
from wit_world.imports import logging
from wit_world.imports.call_session import Call, GatherOptions, PlayOptions
from wit_world.imports.types import Error_HungUp, HangupCause

# "Press one, press two, press nine", of words that every Asterisk has.
MENU = ["sound:vm-press", "digits:1", "sound:vm-press", "digits:2", "sound:vm-press", "digits:9"]

# How often the menu is said before the call is ended.
TRIES = 3

# The note that keeps the key.
CHOICE = "choice"


class WitWorld(wit_world.WitWorld):
    """What the host runs for each call."""

    def handle(self, call: Call) -> None:
        try:
            menu(call)
        except Err as error:
            # An error of the contract. That the caller has hung up is no failure; of the others, the host gets a text.
            if not isinstance(error.value, Error_HungUp):
                raise Err(getattr(error.value, "value", type(error.value).__name__)) from error
        except Exception as error:
            # Left alone it would be a trap, which says less.
            raise Err(f"{type(error).__name__}: {error}") from error


class HangupHook(exports.HangupHook):
    """What the host runs once when the call is over."""

    def on_hangup(self, call: EndedCall) -> None:
        choice = dict(call.metadata).get(CHOICE, "none")
        logging.log(logging.Level.INFO, f"the caller chose {choice}", [("choice", choice)])


def menu(call: Call) -> None:
    call.answer()
    play(call, "sound:hello-world")
    choice = choose(call)
    if choice is None:
        play(call, "sound:sorry")
    else:
        serve(call, choice)
    play(call, "sound:vm-goodbye")
    call.hangup(HangupCause.NORMAL)


def choose(call: Call) -> str | None:
    """Says the menu until a key of it is pressed; `None` when the tries are used up."""
    options = GatherOptions(
        prompt=MENU,
        min_digits=1,
        max_digits=1,
        terminators="",
        first_timeout_ms=0,  # the host's own
        inter_digit_timeout_ms=0,
    )
    for _ in range(TRIES):
        digits = call.gather(options).digits
        if digits in ("1", "2", "9"):
            return digits
        play(call, "sound:invalid" if digits else "sound:please-try-again")
    return None


def serve(call: Call, choice: str) -> None:
    """Says which key it was, and what follows from it."""
    call.metadata_set(CHOICE, choice)
    play(call, "sound:you-entered", f"digits:{choice}")
    following = {"1": "sound:one-moment-please", "2": "sound:pls-hold-while-try"}
    play(call, following.get(choice, "sound:auth-thankyou"))


def play(call: Call, *media: str) -> None:
    """Plays prompts to their end; no key stops them."""
    call.play(list(media), PlayOptions(interrupt_on=""))
