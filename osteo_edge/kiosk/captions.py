"""What stands on the kiosk's pages besides the answers, in English; words that others say already are taken from there."""

from __future__ import annotations

from typing import Final

BEGIN: Final = "Start"
GO_ON: Final = "Continue"
BACK: Final = "Back"
END: Final = "End and erase"
LANGUAGE: Final = "Language"
LARGER: Final = "Larger text"
SMALLER: Final = "Smaller text"
TRY_AGAIN: Final = "Try again"

DEMONSTRATION: Final = "Demonstration: only the drawn example picture is answered here, and no picture of a person."
WHAT: Final = "What this is, and what it is not"
WHAT_IT_IS: Final = "This computer looks at an X-ray picture of a knee and says what it found."
WHAT_IT_IS_NOT: Final = "It is a research aid and no medical device. It makes no diagnosis, and it can be wrong."
WHO_DECIDES: Final = "Talk to a doctor or a nurse about what it says."
ERASED_AFTER: Final = "Nothing is kept: when you end, or do nothing for {n} seconds, all is erased."

ABOUT_YOU: Final = "About you"
OPTIONAL: Final = "You may leave any of this empty."
SEX: Final = "Sex"
NOT_SAID: Final = "Not said"
AGE_RANGE: Final = "Please give the age as a number from {n} to {n}, or leave it empty."
WEIGHT_RANGE: Final = "Please give the weight in kilograms as a number from {n} to {n}, or leave it empty."

PICTURE: Final = "The picture"
CHOOSE_FILE: Final = "Choose a file with the picture of the knee"
CHOOSE_ONE: Final = "Or touch one of these pictures"
CHOOSE_EXAMPLE: Final = "Touch the example picture"
NUMBERED: Final = "Picture {n}"
SHOW_ANSWER: Final = "Show the answer"

PRINT: Final = "Print"
AS_PDF: Final = "As a PDF"
ANOTHER: Final = "Another picture"

STILL_THERE: Final = "Are you still there?"
SOON_ERASED: Final = "In {n} seconds all will be erased."
STAY: Final = "I am still here"
ENDED: Final = "All was erased"
NEXT_PERSON: Final = "The next person can start now."

BUSY: Final = "Somebody else is using this now"
PLEASE_WAIT: Final = "Please wait a little. This page looks again by itself."
OLD: Final = "This page is out of date"
SEVERAL_WINDOWS: Final = "Something was done in another window, or twice. Please go on from the current page."
OVER: Final = "Your visit is over"
START_AGAIN: Final = "What you gave was erased. Please start again."
SLOW: Final = "The picture took too long to arrive"
CHOOSE_AGAIN: Final = "Please choose a picture and try again."
NONE_CHOSEN: Final = "No picture was chosen"
FAILED: Final = "The program could not answer"
NOT_YOUR_FAULT: Final = "This is no fault of yours. Please try again, or ask the staff."
NO_PAGE: Final = "There is no such page"
