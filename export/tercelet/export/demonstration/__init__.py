"""The verb `demo`: with the weights of the package, or the whole chain on weights of your own.

from tercelet.export import demo
demo(output="demo")
"""

from __future__ import annotations

from tercelet.export.demonstration.demo_result import PackagedDemo, WeightsDemo
from tercelet.export.demonstration.demonstrating import demo

__all__ = ["PackagedDemo", "WeightsDemo", "demo"]
