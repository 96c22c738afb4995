"""Redirect an application that is not yours, without editing it, and let it go again.

uv run examples/patch_application.py

`their_application` builds one client when it is imported and another one later; `patch()` takes
both along. A program that has its own entry point needs no code at all:

uv run --no-dev mistral-cf-adapter run examples/their_application.py

Set CLOUDFLARE_ACCOUNT_ID, CF_AIG_TOKEN and MISTRAL_API_KEY to use your own gateway; without an
account it starts a local one. The second command always asks for yours.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["mistral-cf-adapter[testing]"]
# tool.uv.sources.mistral-cf-adapter = { path = "..", editable = true }
# ///

from mistral_cf_adapter import capture, gateway_options, patch

TEXT = "The mistral is a strong, cold wind."


def show_server(when, application):
    server, _ = application.client.sdk_configuration.get_server_details()
    print(f"{when}: {server}")


def main():
    import their_application  # here, so that MISTRAL_API_KEY is set when it builds its client

    show_server("Before patch()", their_application)
    with patch(), capture() as calls, gateway_options(metadata={"app": "theirs"}):
        show_server("Patched", their_application)
        print(f"  {their_application.summary(TEXT)}")
        print(f"  {their_application.translation(TEXT)}")
    show_server("Afterwards", their_application)

    print("What went through the gateway")
    for call in calls:
        print(f"  {call.path}  {call.status_code}  log {call.log_id}")


if __name__ == "__main__":
    from _gateway import gateway

    with gateway() as local:
        if local:
            local.reply("A cold wind that blows hard.")
            local.reply("Le mistral est un vent fort et froid.")
        main()
