"""Azure AI Content Safety: `text:analyze`, which finds the words a test gives it."""

from __future__ import annotations

from tests.azure_emulator.wire import Answer, Call, Refusal, Table

CATEGORIES = ("Hate", "SelfHarm", "Sexual", "Violence")
MAX_CHARACTERS = 10_000


def routes(table: Table) -> None:
    table.add("POST", "/contentsafety/text:analyze", analyze, "open")


def analyze(call: Call) -> Answer:
    """The severity of each category: that of its worst word in `Emulator.harmful_words`."""
    azure = call.azure
    key = call.headers.get("ocp-apim-subscription-key")
    if key != azure.content_safety["CONTENT_SAFETY_KEY"] and not call.headers.get("authorization"):
        raise Refusal(401, "401", "Access denied due to invalid subscription key or wrong API endpoint.")
    text = call.body.get("text", "")
    if not text or len(text) > MAX_CHARACTERS:
        raise Refusal(400, "InvalidRequestBody", "The length of the text must be 1 to 10000 characters.")
    wanted = call.body.get("categories") or CATEGORIES
    severities = dict.fromkeys(wanted, 0)
    for word, (category, severity) in azure.harmful_words.items():
        if word in text.lower() and category in severities:
            severities[category] = max(severities[category], severity)
    return Answer(
        body={
            "blocklistsMatch": [],
            "categoriesAnalysis": [
                {"category": name, "severity": found} for name, found in severities.items()
            ],
        }
    )
