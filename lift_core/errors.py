"""The errors of LIFT.

::

    LiftError
    ├── PermanentError            trying again cannot help; the job ends at once
    │   ├── DocumentError           the bytes are not a readable document
    │   ├── RecipeError             the recipe is unknown or contradicts itself
    │   ├── TagError                an object's tag asks for something that cannot be
    │   ├── QualityError            too few pairs worth learning
    │   ├── TrainingDivergedError   the loss is not a finite number
    │   ├── ProofError              the adapter did not pass its proof
    │   └── EvaluationDataError     a benchmark's items are missing or broken
    ├── TransientError            worth another try
    │   ├── ServiceUnavailableError  a service it needs is away: it is waited for
    │   ├── ConflictError            two transactions met; the database ended this one
    │   ├── StepTimeoutError         a step took too long, or committed nothing for too long
    │   ├── StreamStalledError       no shard came within the idle limit
    │   ├── InterruptedTrainingError  the process was told to leave; its checkpoint is kept
    │   └── ObjectChangedError       the object was replaced while it was being read
    ├── FencedError               another attempt holds the work; this one must stop writing
    ├── AlreadyDoneError          the work is done or belongs to another run; nothing to do
    ├── NotFoundError             no document, adapter or alias of that name
    ├── NotServableError          the adapter exists, but its state does not let it answer
    ├── StateError                the thing is in a state that does not allow what was asked
    └── RefusedFilesError         an adapter's files are not what they must be; they are never loaded

What becomes of a run at each of them is in docs/failure.md.

Every message names the thing, the cause and, where there is one, the remedy.
"""


class LiftError(Exception):
    """Base of every error that LIFT raises on purpose."""


class PermanentError(LiftError):
    """Trying again cannot help: the job ends with this reason."""


class DocumentError(PermanentError):
    """The bytes are not a document that can be read."""


class RecipeError(PermanentError):
    """The recipe is unknown or contradicts itself."""


class TagError(PermanentError):
    """An object's tag asks for something that cannot be."""


class QualityError(PermanentError):
    """The generator wrote too few pairs worth learning."""


class TrainingDivergedError(PermanentError):
    """The loss is not a finite number any more."""


class ProofError(PermanentError):
    """The adapter did not pass what its recipe asks of it."""


class EvaluationDataError(PermanentError):
    """The items of a benchmark are missing or broken; nothing was measured with them."""


class TransientError(LiftError):
    """Worth another try: the cause lies outside the document."""


class ServiceUnavailableError(TransientError):
    """A service that is needed does not answer."""


class ConflictError(TransientError):
    """Two transactions of the registry were in each other's way, and the database ended this one."""


class StepTimeoutError(TransientError):
    """A step took longer than its limit, or has committed nothing for too long."""


class StreamStalledError(TransientError):
    """The producer of the stream has been silent for longer than the idle limit."""


class InterruptedTrainingError(TransientError):
    """The process was told to leave (SIGTERM): the training goes on from its checkpoint."""


class ObjectChangedError(TransientError):
    """The object was replaced while it was being read."""


class FencedError(LiftError):
    """A newer attempt holds the work: whatever this one writes is refused."""


class AlreadyDoneError(LiftError):
    """The work is done, or belongs to another run; there is nothing to do here."""


class NotFoundError(LiftError):
    """There is no document, adapter or alias of that name."""


class NotServableError(LiftError):
    """The adapter is quarantined, archived or not proven: it may not answer. ``state`` says which."""

    def __init__(self, message: str, state: str) -> None:
        super().__init__(message)
        self.state = state


class StateError(LiftError):
    """What was asked is not allowed in the state that the thing is in; nothing was changed."""


class RefusedFilesError(LiftError):
    """An adapter's files are tampered with, cut short, of another base model or not safetensors."""
