"""Views: from plain data to a pure ``*_info``, from there to a drawn chart; altair is loaded on drawing only."""

from stepsize.curves.numerals import number_text as number_text
from stepsize.views.chart import Chart as Chart
from stepsize.views.lr_curve import CurveFit as CurveFit
from stepsize.views.lr_curve import CurvePoint as CurvePoint
from stepsize.views.lr_curve import LrCurveInfo as LrCurveInfo
from stepsize.views.lr_curve import LrCurveView as LrCurveView
from stepsize.views.lr_curve import lr_curve_chart as lr_curve_chart
from stepsize.views.lr_curve import lr_curve_info as lr_curve_info
from stepsize.views.range_test import RangeTestInfo as RangeTestInfo
from stepsize.views.range_test import RangeTestView as RangeTestView
from stepsize.views.range_test import range_test_chart as range_test_chart
from stepsize.views.range_test import range_test_info as range_test_info
from stepsize.views.run import RunInfo as RunInfo
from stepsize.views.run import RunView as RunView
from stepsize.views.run import run_chart as run_chart
from stepsize.views.run import run_info as run_info
from stepsize.views.save import PLOT_SUFFIXES as PLOT_SUFFIXES
from stepsize.views.save import check_plot_path as check_plot_path
from stepsize.views.save import save_chart as save_chart
