"""A page in headless Chromium, driven over the DevTools protocol through a pair of pipes: no port, no driver,
no package."""

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile

ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--window-size=1200,1600",
             "--remote-debugging-pipe", "about:blank"]


# Debian's, or the one that CI's machines come with.
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class Page:
    """One page. What it requests and what goes wrong in it is collected from the start."""

    def __init__(self, url):
        self.url, self.requested, self.faults, self.calls = url, [], [], 0

    def __enter__(self):
        # A helper of the browser may write to it to the very last; what then stays is no fault of the page.
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_browser, self.out = os.pipe()
        self.into, from_browser = os.pipe()

        def at_three_and_four():
            # Where Chromium expects its ends; moved out of the way first, should they stand there already.
            ends = [os.dup(to_browser), os.dup(from_browser)]
            for wanted, end in zip((3, 4), [os.dup2(end, 100 + index) for index, end in enumerate(ends)]):
                os.dup2(end, wanted)

        self.chromium = subprocess.Popen(
            [CHROMIUM, *ARGUMENTS, f"--user-data-dir={self.profile.name}"], preexec_fn=at_three_and_four,
            close_fds=False, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.reader = os.fdopen(self.into, "rb")
        self.session = None
        [target] = [one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        self.session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=self.url)
        return self

    def __exit__(self, *_):
        self.chromium.terminate()
        self.chromium.wait(30)
        # Its helpers, which it does not wait for.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.chromium.pid, signal.SIGKILL)
        self.reader.close()
        os.close(self.out)
        self.profile.cleanup()

    def call(self, method, **parameters):
        """Calls the browser; events that come in between are noted."""
        self.calls += 1
        message = {"id": self.calls, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.received()
            if answer.get("id") == self.calls:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.note(answer)

    def received(self):
        message = bytearray()
        while (byte := self.reader.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("chromium ended")
            message += byte
        return json.loads(message)

    def note(self, event):
        parameters = event.get("params", {})
        if event["method"] == "Network.requestWillBeSent":
            self.requested.append(parameters["request"]["url"])
        elif event["method"] == "Runtime.exceptionThrown":
            self.faults.append(parameters["exceptionDetails"]["text"])
        elif event["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.faults.append(parameters["entry"]["text"])

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def count(self, selector):
        return self.evaluate(f"document.querySelectorAll({json.dumps(selector)}).length")

    def text(self, selector):
        """The text that the first such element shows; empty while there is none."""
        return self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def value(self, selector):
        """What stands in the first such field; empty while there is none."""
        return self.evaluate(f"document.querySelector({json.dumps(selector)})?.value ?? ''")

    def click(self, selector):
        """Presses the mouse's button on the first such element, where it is on the screen."""
        where = self.evaluate(
            f"(() => {{ const element = document.querySelector({json.dumps(selector)});"
            " if (!element) return null;"
            " element.scrollIntoView({ block: 'center', behavior: 'instant' });"
            " const box = element.getBoundingClientRect();"
            " return { x: box.x + box.width / 2, y: box.y + box.height / 2 }; })()")
        if where is None:
            raise RuntimeError(f"nothing to click at {selector}")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **where)

    def show(self, selector):
        """Scrolls to the first such element."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{ block: 'center' }})")

    def screenshot(self, path):
        """What is on the screen as PNG."""
        shot = self.call("Page.captureScreenshot")
        path.write_bytes(base64.b64decode(shot["data"]))
