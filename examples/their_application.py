"""Somebody else's program: it knows Mistral, and nothing of a gateway. See patch_application.py."""

import os

try:
    from mistralai.client import Mistral
except ImportError:  # mistralai 1.x
    from mistralai import Mistral

client = Mistral(api_key=os.environ["MISTRAL_API_KEY"])


def ask(mistral, question):
    messages = [{"role": "user", "content": question}]
    answer = mistral.chat.complete(model="mistral-small-latest", messages=messages)
    return answer.choices[0].message.content


def summary(text):
    return ask(client, f"Summarize: {text}")


def translation(text):
    with Mistral(api_key=os.environ["MISTRAL_API_KEY"]) as mistral:
        return ask(mistral, f"Translate into French: {text}")


if __name__ == "__main__":
    print(summary("The mistral is a strong, cold wind."))
    print(translation("The mistral is a strong, cold wind."))
