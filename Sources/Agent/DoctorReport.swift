import ClusterModel
import LinuxSystem

/// `godwitd doctor` for people and for programs.
enum DoctorReport {
    /// A table with one capability a line; what is missing is followed by what that costs and the remedy.
    static func table(_ reports: [CapabilityReport]) -> String {
        let width = reports.map(\.name.count).max() ?? 0
        var text = ""
        for report in reports {
            let mark = report.isPresent ? "ok     " : report.isRequired ? "MISSING" : "missing"
            let name = report.name + String(repeating: " ", count: width - report.name.count)
            text += "\(mark)  \(name)  \(report.detail)\n"
            guard !report.isPresent else { continue }
            let indent = String(repeating: " ", count: 9)
            if !report.cost.isEmpty { text += "\(indent)costs: \(report.cost)\n" }
            if !report.remedy.isEmpty { text += "\(indent)remedy: \(report.remedy)\n" }
        }
        let missing = reports.filter { !$0.isPresent }
        let required = missing.filter(\.isRequired).count
        text += "\n\(reports.count - missing.count) of \(reports.count) capabilities are there"
        text += required > 0 ? "; \(required) that containers need are missing.\n" : "; containers can run here.\n"
        return text
    }

    /// One JSON array of objects.
    static func json(_ reports: [CapabilityReport]) -> String {
        let objects = reports.map { report in
            "{\"name\":\(jsonString(report.name)),\"isPresent\":\(report.isPresent),\"isRequired\":\(report.isRequired),"
                + "\"detail\":\(jsonString(report.detail)),\"cost\":\(jsonString(report.cost)),\"remedy\":\(jsonString(report.remedy))}"
        }
        return "[\(objects.joined(separator: ",\n "))]\n"
    }
}
