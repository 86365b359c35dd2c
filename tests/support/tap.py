"""Runs a unittest module's cases and prints TAP, one line a case, as they end."""
import sys
import unittest


class TapResult(unittest.TestResult):
    """Prints each case's line at its end; details go to comment lines."""

    def __init__(self):
        super().__init__()
        self.number = 0
        self.failed_parts = False

    def _line(self, ok, test, directive=""):
        self.number += 1
        name = (test.shortDescription() or test.id().split(".")[-1].replace("_", " ")).removeprefix("test ")
        print(f"{'ok' if ok else 'not ok'} {self.number} - {name}{directive}", flush=True)

    def _details(self, error):
        for line in self._exc_info_to_string(error[1], error[0]).splitlines():
            print(f"# {line}", flush=True)

    def addSuccess(self, test):
        self._line(True, test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._details((test, err))
        self._line(False, test)

    def addError(self, test, err):
        super().addError(test, err)
        self._details((test, err))
        self._line(False, test)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._details((subtest, err))
            self.failed_parts = True

    def stopTest(self, test):
        super().stopTest(test)
        if self.failed_parts:  # then no other method is called for the case
            self._line(False, test)
        self.failed_parts = False

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._line(True, test, f" # SKIP {reason}")


def main(module="__main__"):
    """Runs every case of the module; exit status 1 when one failed."""
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[module])
    print(f"1..{suite.countTestCases()}", flush=True)
    result = TapResult()
    suite.run(result)
    sys.exit(0 if result.wasSuccessful() else 1)
