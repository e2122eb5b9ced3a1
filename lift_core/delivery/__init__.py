"""Events on their way to webhooks: signed, posted, retried, at least once."""

from lift_core.delivery.deliverer import Deliverer
from lift_core.delivery.messages import Message, message_of, trial_message
from lift_core.delivery.sending import Answer, Sender

__all__ = ["Answer", "Deliverer", "Message", "Sender", "message_of", "trial_message"]
