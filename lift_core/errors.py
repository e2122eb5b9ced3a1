"""The errors of LIFT.

::

    LiftError
    ├── PermanentError            trying again cannot help; the job ends at once
    │   ├── DocumentError           the bytes are not a readable document
    │   ├── RecipeError             the recipe is unknown or contradicts itself
    │   ├── QualityError            too few pairs worth learning
    │   ├── TrainingDivergedError   the loss is not a finite number
    │   └── ProofError              the adapter did not pass its proof
    ├── TransientError            worth another try
    │   ├── ServiceUnavailableError  a service it needs is away
    │   ├── StreamStalledError       no shard came within the idle limit
    │   └── ObjectChangedError       the object was replaced while it was being read
    ├── FencedError               another attempt holds the work; this one must stop writing
    ├── AlreadyDoneError          the work is done or belongs to another run; nothing to do
    └── NotFoundError             no document, adapter or alias of that name

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


class QualityError(PermanentError):
    """The generator wrote too few pairs worth learning."""


class TrainingDivergedError(PermanentError):
    """The loss is not a finite number any more."""


class ProofError(PermanentError):
    """The adapter did not pass what its recipe asks of it."""


class TransientError(LiftError):
    """Worth another try: the cause lies outside the document."""


class ServiceUnavailableError(TransientError):
    """A service that is needed does not answer."""


class StreamStalledError(TransientError):
    """The producer of the stream has been silent for longer than the idle limit."""


class ObjectChangedError(TransientError):
    """The object was replaced while it was being read."""


class FencedError(LiftError):
    """A newer attempt holds the work: whatever this one writes is refused."""


class AlreadyDoneError(LiftError):
    """The work is done, or belongs to another run; there is nothing to do here."""


class NotFoundError(LiftError):
    """There is no document, adapter or alias of that name."""
