"""Sends mails with Paubox's own published client, run by the Python that has it; nothing of ours is imported.

Reads `{"host": ..., "key": ..., "mails": [...]}` from stdin, each mail in the words of the client's `Mail`;
sends each, asks for each receipt, and prints what it was answered.
"""

import json
import sys

from paubox import PauboxApiClient
from paubox.helpers.mail import Mail


def main() -> None:
    asked = json.load(sys.stdin)
    client = PauboxApiClient(asked["key"], asked["host"])
    answers = []
    for words in asked["mails"]:
        sent = client.send(Mail(**words).get()).to_dict
        receipt = client.get(sent["sourceTrackingId"]).to_dict
        answers.append({"sent": sent, "receipt": receipt})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
