"""Serve one Matroska file with VP8 as rtsp://127.0.0.1:PORT/clip until killed; the port is printed first.

Runs under the system's Python, which has the bindings of GStreamer's RTSP server:
apt-get install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good python3-gi
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

Gst.init(None)
for element in ("matroskademux", "rtpvp8pay"):
    if Gst.ElementFactory.find(element) is None:
        sys.exit(f"GStreamer lacks {element}")
if len(sys.argv) == 1:
    sys.exit(0)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(f'( filesrc location="{sys.argv[1]}" ! matroskademux ! rtpvp8pay name=pay0 pt=96 )')
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")
server.get_mount_points().add_factory("/clip", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
